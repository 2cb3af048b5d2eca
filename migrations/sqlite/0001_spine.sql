-- Tenancy. Times are epoch milliseconds, ids prefixed text, documents JSON text.

CREATE TABLE customers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);
CREATE INDEX organizations_by_customer ON organizations (customer_id, created_at);

CREATE TABLE spaces (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (organization_id, name)
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    name TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    platform_admin BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX users_by_customer ON users (customer_id);

CREATE TABLE ssh_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    public_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, name)
);

-- `hash` is all that is kept of a token.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    UNIQUE (user_id, name)
);

-- Delivery.

-- `organization_id` repeats the space's, for the name that is unique in the organization.
CREATE TABLE apps (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    space_id TEXT NOT NULL REFERENCES spaces (id),
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (organization_id, name)
);
CREATE INDEX apps_by_name ON apps (name, id);
CREATE INDEX apps_by_space ON apps (space_id);

-- A role holds at exactly one place and in all below it.
CREATE TABLE memberships (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    organization_id TEXT REFERENCES organizations (id) ON DELETE CASCADE,
    space_id TEXT REFERENCES spaces (id) ON DELETE CASCADE,
    app_id TEXT REFERENCES apps (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    UNIQUE (user_id, organization_id),
    UNIQUE (user_id, space_id),
    UNIQUE (user_id, app_id),
    CHECK ((organization_id IS NOT NULL AND space_id IS NULL AND app_id IS NULL)
        OR (organization_id IS NULL AND space_id IS NOT NULL AND app_id IS NULL)
        OR (organization_id IS NULL AND space_id IS NULL AND app_id IS NOT NULL))
);
CREATE INDEX memberships_by_organization ON memberships (organization_id);
CREATE INDEX memberships_by_space ON memberships (space_id);
CREATE INDEX memberships_by_app ON memberships (app_id);

-- `generation` grows by one with every write of `spec`.
CREATE TABLE environments (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    branch TEXT NOT NULL,
    spec TEXT NOT NULL,
    generation BIGINT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (app_id, name)
);

CREATE TABLE variables (
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    names TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    PRIMARY KEY (environment_id, version)
);

CREATE TABLE builds (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    job_id TEXT NOT NULL UNIQUE,
    commit_id TEXT NOT NULL,
    state TEXT NOT NULL,
    image TEXT,
    processes TEXT NOT NULL,
    reason TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX builds_by_app ON builds (app_id, created_at);

CREATE TABLE releases (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    build_id TEXT REFERENCES builds (id) ON DELETE SET NULL,
    commit_id TEXT,
    image TEXT NOT NULL,
    processes TEXT NOT NULL,
    variables_version BIGINT NOT NULL,
    formation TEXT NOT NULL,
    hosts TEXT NOT NULL,
    description TEXT NOT NULL,
    created_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (environment_id, number)
);
CREATE INDEX releases_by_build ON releases (build_id);

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    job_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    release_id TEXT REFERENCES releases (id) ON DELETE SET NULL,
    state TEXT NOT NULL,
    reason TEXT,
    created_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX deployments_by_environment ON deployments (environment_id, created_at);
CREATE INDEX deployments_by_release ON deployments (release_id);

CREATE TABLE routes (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    host TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);
CREATE INDEX routes_by_environment ON routes (environment_id);

-- The platform's own.

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE data_keys (
    scope TEXT PRIMARY KEY,
    wrapped BLOB NOT NULL
);

-- A running job without a holder waits until `lease_until`: for its next attempt, or for whoever claims it first.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    holder TEXT,
    lease_until BIGINT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE UNIQUE INDEX jobs_one_running_per_subject ON jobs (subject) WHERE state = 'running';
CREATE INDEX jobs_unfinished ON jobs (created_at, id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_unfinished_of_subject ON jobs (subject, created_at, id) WHERE state IN ('queued', 'running');

CREATE TABLE job_steps (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    output TEXT NOT NULL,
    error TEXT,
    started_at BIGINT,
    finished_at BIGINT,
    PRIMARY KEY (job_id, position)
);
