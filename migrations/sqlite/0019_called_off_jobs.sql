-- Who ended a job before its end, as people read it. Whoever has the job, or claims it, fails it with that.
ALTER TABLE jobs ADD COLUMN called_off TEXT;
CREATE INDEX jobs_called_off ON jobs (created_at, id) WHERE called_off IS NOT NULL AND state = 'queued';
-- The variables to come back to when a deployment fails that wrote others with its release.
ALTER TABLE deployments ADD COLUMN variables_before BIGINT;
