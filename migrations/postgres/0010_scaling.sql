-- Within which bounds the platform counts replicas, per process type: JSON. Until now they were the environment's alone,
-- whatever release it ran.
ALTER TABLE releases ADD COLUMN scaling TEXT NOT NULL DEFAULT '{}';
UPDATE releases SET scaling = COALESCE(
    (SELECT CAST(CAST(e.spec AS json) -> 'scaling' AS text) FROM environments e WHERE e.id = releases.environment_id), '{}');
