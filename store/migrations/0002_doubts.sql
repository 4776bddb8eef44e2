-- Doubts: when a job must be looked at (its deadline, or a contradiction), what a callback
-- contradicted and how it was settled, and why an account is paused.

ALTER TABLE jobs RENAME COLUMN deadline_at TO check_at;
UPDATE jobs SET check_at = NULL WHERE status IN ('succeeded', 'failed', 'canceled', 'expired');
DROP INDEX jobs_under_way;
CREATE INDEX jobs_under_way ON jobs (account) WHERE status IN ('submitting', 'submitted', 'running');
CREATE INDEX jobs_to_check ON jobs (check_at) WHERE check_at IS NOT NULL;

ALTER TABLE callbacks ADD COLUMN doubt TEXT;
ALTER TABLE callbacks ADD COLUMN settled_at BIGINT;
ALTER TABLE callbacks ADD COLUMN settlement TEXT;
CREATE INDEX callbacks_in_doubt ON callbacks (job_id) WHERE doubt IS NOT NULL;

ALTER TABLE accounts ADD COLUMN paused_for TEXT;
ALTER TABLE accounts ADD COLUMN paused_at BIGINT;
