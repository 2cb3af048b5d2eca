-- What was pushed to the repository of an app. `digest` is as the pusher named it (SHA-256 or SHA-512), `blob` the SHA-256
-- under which the content lies in the blob store. `used_at`: until then somebody needed it, or looked for it to name it.
CREATE TABLE image_blobs (
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, digest)
);
CREATE INDEX image_blobs_by_digest ON image_blobs (digest);

-- `facts`: what the document says, as JSON.
CREATE TABLE image_manifests (
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    subject TEXT,
    facts TEXT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, digest)
);
CREATE INDEX image_manifests_by_subject ON image_manifests (app_id, subject);

CREATE TABLE image_tags (
    app_id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    moved_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, name),
    FOREIGN KEY (app_id, digest) REFERENCES image_manifests (app_id, digest) ON DELETE CASCADE
);
CREATE INDEX image_tags_by_digest ON image_tags (app_id, digest);
