-- Keys of accounts at authorities; `url` is the account there once it was registered.
CREATE TABLE acme_accounts (
    directory TEXT PRIMARY KEY,
    sealed BYTEA NOT NULL,
    url TEXT,
    created_at BIGINT NOT NULL
);
-- Certificates that are to be had; rows without an environment are the platform's own. `sealed` is the key to come.
CREATE TABLE certificate_orders (
    id TEXT PRIMARY KEY,
    environment_id TEXT REFERENCES environments (id) ON DELETE CASCADE,
    name TEXT NOT NULL UNIQUE,
    directory TEXT,
    url TEXT,
    sealed BYTEA,
    attempts BIGINT NOT NULL,
    error TEXT,
    failed_at BIGINT,
    next_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX certificate_orders_by_environment ON certificate_orders (environment_id, name);
-- Names that are ordered for or not because somebody said so; `*` is all of the environment.
CREATE TABLE certificate_choices (
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    ordered BOOLEAN NOT NULL,
    PRIMARY KEY (environment_id, name)
);
