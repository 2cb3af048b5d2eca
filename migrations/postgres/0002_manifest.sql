-- `app.json` of the pushed tree, as JSON.
ALTER TABLE releases ADD COLUMN manifest TEXT NOT NULL DEFAULT '{}';
