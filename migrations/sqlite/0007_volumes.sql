-- Volumes. One outlives its environment as a tombstone (`environment_id` NULL) until `kept_until`; so it names its
-- organization and space itself.
CREATE TABLE volumes (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    space_id TEXT NOT NULL REFERENCES spaces (id),
    environment_id TEXT REFERENCES environments (id) ON DELETE SET NULL,
    name TEXT NOT NULL,
    shared BOOLEAN NOT NULL,
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    destroyed_at BIGINT,
    kept_until BIGINT
);
CREATE UNIQUE INDEX volumes_by_name ON volumes (environment_id, name) WHERE state = 'live';
CREATE INDEX volumes_by_environment ON volumes (environment_id, created_at);
CREATE INDEX volumes_by_organization ON volumes (organization_id);
CREATE INDEX volumes_by_space ON volumes (space_id);
CREATE INDEX volumes_by_end ON volumes (state, kept_until);

-- Sizes and mounts by process type, as JSON: part of the whole that a release is.
ALTER TABLE releases ADD COLUMN sizes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE releases ADD COLUMN mounts TEXT NOT NULL DEFAULT '{}';
