-- The checks that people set, as JSON, part of the whole that a release is; and whether it brought anything new to run.
ALTER TABLE releases ADD COLUMN checks TEXT NOT NULL DEFAULT '{}';
ALTER TABLE releases ADD COLUMN kind TEXT NOT NULL DEFAULT 'rollout';
