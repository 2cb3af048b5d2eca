-- Within which bounds the platform counts replicas, per process type: JSON. Until now they were the environment's alone,
-- whatever release it ran.
ALTER TABLE releases ADD COLUMN scaling TEXT NOT NULL DEFAULT '{}';
UPDATE releases SET scaling = COALESCE(
    (SELECT json_extract(e.spec, '$.scaling') FROM environments e WHERE e.id = releases.environment_id), '{}');
