-- Names of people's own. Many may claim one; of those who proved it, one has it.
CREATE TABLE domains (
    id TEXT COLLATE "C" PRIMARY KEY,
    app_id TEXT COLLATE "C" NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment_id TEXT COLLATE "C" NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    token TEXT COLLATE "C" NOT NULL,
    proven_by TEXT COLLATE "C",
    proven_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (app_id, name)
);
CREATE INDEX domains_by_environment ON domains (environment_id, created_at);
CREATE UNIQUE INDEX domains_proven ON domains (name) WHERE proven_at IS NOT NULL;
