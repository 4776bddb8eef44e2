-- Deleting what is older than the retention period, in small batches.

-- prunable_jobs --
-- The next old jobs; prunable if ended and without pending deliveries. Reads at most :limit rows.
SELECT j.id, CASE
    WHEN j.status NOT IN ('succeeded', 'failed', 'canceled', 'expired') THEN 0
    WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.status = 'pending') THEN 0
    ELSE 1 END AS prunable
FROM jobs j
WHERE j.id > :after AND j.id < :before
ORDER BY j.id LIMIT :limit
{skip_locked}

-- delete_attempts --
-- With their deliveries.
DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE job_id {in:jobs})

-- delete_deliveries --
-- None is pending.
DELETE FROM deliveries WHERE job_id {in:jobs}

-- delete_events --
-- `seq` values are never reused.
DELETE FROM events WHERE job_id {in:jobs}

-- delete_callbacks --
-- With their job.
DELETE FROM callbacks WHERE job_id {in:jobs}

-- delete_submissions --
-- A callback that comes later gets the verdict `late`.
DELETE FROM submissions WHERE job_id {in:jobs}

-- delete_tags --
-- With their job.
DELETE FROM job_tags WHERE job_id {in:jobs}

-- delete_task_uuids --
-- The client may use them again.
DELETE FROM task_uuids WHERE job_id {in:jobs}

-- delete_inputs --
-- With their job.
DELETE FROM job_inputs WHERE job_id {in:jobs}

-- delete_jobs --
-- Last, because the other rows refer to it.
DELETE FROM jobs WHERE id {in:jobs}

-- prunable_system_events --
-- Events about no job, without pending deliveries.
SELECT e.id FROM events e
WHERE e.job_id IS NULL AND e.id < :before
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.status = 'pending')
ORDER BY e.id LIMIT :limit

-- delete_system_event_attempts --
-- With their deliveries.
DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id {in:events})

-- delete_system_event_deliveries --
-- None is pending.
DELETE FROM deliveries WHERE event_id {in:events}

-- delete_system_events --
-- `seq` values are never reused.
DELETE FROM events WHERE id {in:events}

-- delete_idempotency_keys --
-- A request repeated this late creates new jobs.
DELETE FROM idempotency WHERE created_at < :at

-- delete_recoveries --
-- Finished long ago.
DELETE FROM recoveries WHERE id < :before AND status <> 'running'

-- check_writable --
-- Proves that the database can be written: the value changes, or SQLite would write no page.
INSERT INTO versions (name, value) VALUES ('readiness', 1)
ON CONFLICT (name) DO UPDATE SET value = versions.value + 1
