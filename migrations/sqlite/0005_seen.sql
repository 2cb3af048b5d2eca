-- What happened, in the words of `Happened`; `once` names what is told one time only.
CREATE TABLE events (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment_id TEXT REFERENCES environments (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    actor TEXT REFERENCES users (id) ON DELETE SET NULL,
    cause TEXT,
    once TEXT UNIQUE,
    document TEXT NOT NULL
);
CREATE INDEX events_by_app ON events (app_id, id);
CREATE INDEX events_by_environment ON events (environment_id, id);
CREATE INDEX events_by_actor ON events (actor);
CREATE INDEX events_by_time ON events (at);

-- Samples of one subject (an environment, or `host`) at one step; `document` is the sum of the step that began at `at`.
CREATE TABLE metrics (
    subject TEXT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (subject, step, at)
);
CREATE INDEX metrics_by_time ON metrics (step, at);

-- Where lines of an app go as well; `sealed` is the address with what it holds of secrets.
CREATE TABLE drains (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment_id TEXT REFERENCES environments (id) ON DELETE CASCADE,
    shown TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX drains_by_app ON drains (app_id, created_at);
CREATE INDEX drains_by_environment ON drains (environment_id);
