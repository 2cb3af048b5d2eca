-- `sealed` is the key; rows without an environment are the platform's own.
CREATE TABLE certificates (
    id TEXT PRIMARY KEY,
    environment_id TEXT REFERENCES environments (id) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    names TEXT NOT NULL,
    issuer TEXT NOT NULL,
    chain TEXT NOT NULL,
    sealed BLOB NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX certificates_by_environment ON certificates (environment_id, created_at);
CREATE UNIQUE INDEX certificates_authority ON certificates (origin) WHERE origin = 'authority';
