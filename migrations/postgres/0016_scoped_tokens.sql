-- A token may be for one app alone, with no more than a role there; it goes with the app.
ALTER TABLE tokens ADD COLUMN app_id TEXT REFERENCES apps (id) ON DELETE CASCADE;
ALTER TABLE tokens ADD COLUMN role TEXT;
CREATE INDEX tokens_by_app ON tokens (app_id);
