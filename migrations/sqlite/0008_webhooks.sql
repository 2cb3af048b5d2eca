-- Where events of an app are posted; `sealed` is the address and the key it is signed with, `kinds` has every word
-- between spaces, and nothing for all kinds.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment_id TEXT REFERENCES environments (id) ON DELETE CASCADE,
    kinds TEXT NOT NULL,
    shown TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhooks_by_app ON webhooks (app_id, created_at);
CREATE INDEX webhooks_by_environment ON webhooks (environment_id);

-- One event on its way to one webhook; goes with either.
CREATE TABLE deliveries (
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    reason TEXT,
    finished_at BIGINT,
    PRIMARY KEY (webhook_id, event_id)
);
CREATE INDEX deliveries_by_event ON deliveries (event_id);
CREATE INDEX deliveries_due ON deliveries (state, due_at);
