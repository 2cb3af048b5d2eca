-- Names of people's own. Many may claim one; of those who proved it, one has it.
CREATE TABLE domains (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    token TEXT NOT NULL,
    proven_by TEXT,
    proven_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (app_id, name)
);
CREATE INDEX domains_by_environment ON domains (environment_id, created_at);
CREATE UNIQUE INDEX domains_proven ON domains (name) WHERE proven_at IS NOT NULL;
