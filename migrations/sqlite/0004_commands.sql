-- Commands beside the replicas, and the schedules that ask for them.

CREATE TABLE crons (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    schedule TEXT NOT NULL,
    command TEXT NOT NULL,
    timezone TEXT NOT NULL,
    origin TEXT NOT NULL,
    next_due BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (environment_id, name)
);
CREATE INDEX crons_by_due ON crons (next_due);

-- A deployment runs each of its commands once, and a time that is due is run once: the two unique keys say so, whoever
-- tries. `holder` and `lease_until` stand while a server looks after the command; those of a deployment have its job.
CREATE TABLE commands (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    release_id TEXT REFERENCES releases (id) ON DELETE SET NULL,
    kind TEXT NOT NULL,
    process TEXT NOT NULL,
    state TEXT NOT NULL,
    exit_code BIGINT,
    reason TEXT,
    deployment_id TEXT REFERENCES deployments (id) ON DELETE CASCADE,
    cron_id TEXT REFERENCES crons (id) ON DELETE SET NULL,
    due_at BIGINT,
    holder TEXT,
    lease_until BIGINT,
    created_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    UNIQUE (deployment_id, kind),
    UNIQUE (cron_id, due_at)
);
CREATE INDEX commands_by_environment ON commands (environment_id, created_at);
CREATE INDEX commands_by_cron ON commands (cron_id, created_at);
CREATE INDEX commands_by_release ON commands (release_id);
CREATE INDEX commands_unfinished ON commands (state, created_at) WHERE state IN ('queued', 'running');
