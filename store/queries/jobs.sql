-- Jobs, their inputs, tags and submissions.

-- add_job --
-- The row is committed before the job is sent.
INSERT INTO jobs (id, tenant, provider, operation, account, queue, status, reply_ref,
                  provider_task_id, due_at, next_check_at, finished_at, error_code, version, doc)
VALUES (:id, :tenant, :provider, :operation, :account, :queue, :status, :reply_ref,
        :provider_task_id, :due_at, :next_check_at, :finished_at, :error_code, :version, :doc)

-- add_input --
-- Inputs have their own table: they may be megabytes, and the job's row is rewritten at each
-- transition.
INSERT INTO job_inputs (job_id, input) VALUES (:job_id, :input)

-- add_tag --
-- One row per tag, so that a tag is found by index.
INSERT INTO job_tags (tenant, tag, job_id) VALUES (:tenant, :tag, :job_id)
ON CONFLICT (tenant, tag, job_id) DO NOTHING

-- add_submission --
-- The ref is stored before the request that carries it.
INSERT INTO submissions (ref, job_id, created_at) VALUES (:ref, :job_id, :created_at)

-- add_task_uuid --
-- A client's own taskUUID; the first job of the tenant keeps it.
INSERT INTO task_uuids (tenant, uuid, job_id) VALUES (:tenant, :uuid, :job_id)
ON CONFLICT (tenant, uuid) DO NOTHING

-- conflicting_task_uuids --
-- taskUUIDs that belong to another job of the tenant.
SELECT uuid FROM task_uuids WHERE tenant = :tenant AND uuid {in:uuids} AND job_id {not_in:jobs}

-- update_job --
-- Columns beside `doc` are copies for queries.
UPDATE jobs
SET account = :account, queue = :queue, status = :status, provider_task_id = :provider_task_id,
    due_at = :due_at, next_check_at = :next_check_at, finished_at = :finished_at,
    error_code = :error_code, version = :version, doc = :doc
WHERE id = :id

-- lock_jobs --
-- Ordered by id, so that two batches cannot deadlock. Locked before reading: a statement that
-- waited for a lock sees the new row, but joins the old rows of other tables.
SELECT j.id FROM submissions s JOIN jobs j ON j.id = s.job_id
WHERE s.ref {in:refs} ORDER BY j.id FOR UPDATE OF j

-- jobs_by_ref --
-- The jobs of a batch of callbacks, whether a delivery of each is pending, and whether its account
-- may be paused.
SELECT s.ref, j.doc, {subscriptions_version} AS version,
       EXISTS (SELECT 1 FROM deliveries d
               WHERE d.job_id = j.id AND d.status = 'pending') AS has_pending,
       EXISTS (SELECT 1 FROM account_pauses p
               WHERE p.account IN (j.account, j.provider)) AS may_be_paused
FROM submissions s
JOIN jobs j ON j.id = s.job_id
WHERE s.ref {in:refs}
ORDER BY j.id

-- store_response --
-- The provider's raw response to the submission.
UPDATE submissions SET responded_at = :at, status_code = :status_code, response = :body
WHERE ref = :ref

-- ended_jobs --
-- Which of these jobs have ended. Asked when another process may have ended them.
SELECT id FROM jobs
WHERE id {in:jobs} AND status IN ('succeeded', 'failed', 'canceled', 'expired')

-- job --
-- One job of a tenant.
SELECT doc FROM jobs WHERE tenant = :tenant AND id = :id

-- jobs_by_id --
-- Several jobs of a tenant.
SELECT id, doc FROM jobs WHERE tenant = :tenant AND id {in:jobs}

-- list_jobs --
-- Newest first: ids sort by time.
SELECT doc FROM jobs WHERE tenant = :tenant AND id < :cursor
  {?status}AND status = :status
  {?provider}AND provider = :provider
  {?operation}AND operation = :operation
ORDER BY id DESC LIMIT :limit

-- list_jobs_selective --
-- By any ref. `{noindex:…}` makes a database without statistics sort these few rows instead of
-- walking all jobs of the tenant: SQLite keeps none, PostgreSQL has none before its first ANALYZE.
SELECT doc FROM jobs WHERE {noindex:tenant} = :tenant AND {noindex:id} < :cursor
  AND id IN (SELECT job_id FROM submissions WHERE ref = :ref
            UNION SELECT id FROM jobs WHERE tenant = :tenant AND reply_ref = :ref
            UNION SELECT id FROM jobs WHERE tenant = :tenant AND provider_task_id = :ref
            UNION SELECT job_id FROM task_uuids WHERE tenant = :tenant AND uuid = LOWER(:ref))
  {?status}AND status = :status
  {?provider}AND provider = :provider
  {?operation}AND operation = :operation
  {?tag}AND id IN (SELECT job_id FROM job_tags WHERE tenant = :tenant AND tag = :tag)
ORDER BY id DESC LIMIT :limit

-- list_jobs_tagged --
-- By tag, however few jobs have it.
SELECT j.doc FROM job_tags t CROSS JOIN jobs j
WHERE t.tenant = :tenant AND t.tag = :tag AND t.job_id < :cursor AND j.id = t.job_id
  {?status}AND status = :status
  {?provider}AND provider = :provider
  {?operation}AND operation = :operation
ORDER BY t.job_id DESC LIMIT :limit

-- inputs --
-- Inputs of jobs that are sent or shown.
SELECT job_id, input FROM job_inputs WHERE job_id {in:jobs}

-- jobs_of_tasks --
-- For callbacks at the URL of a whole account, which name the provider's tasks.
SELECT doc FROM jobs WHERE provider_task_id {in:task_ids} AND provider = :provider ORDER BY id

-- jobs_submitting --
-- Jobs that wait for the response to their submit. The first condition repeats that of the index
-- of the jobs under way; the sort is of these few.
SELECT doc FROM jobs
WHERE status IN ('submitting', 'submitted', 'running')
  AND status = 'submitting' AND provider = :provider
ORDER BY {noindex:id} LIMIT :limit

-- last_callback --
-- The latest callback body that was read as a report.
SELECT body FROM callbacks WHERE job_id = :job_id AND verdict IN ('accepted', 'late')
ORDER BY id DESC LIMIT 1

-- last_response --
-- The latest raw response to a submission.
SELECT response FROM submissions WHERE job_id = :job_id AND response IS NOT NULL
ORDER BY created_at DESC LIMIT 1

-- lock_accounts --
-- One process at a time counts used slots and takes more.
SELECT pg_advisory_xact_lock(7140001)

-- jobs_under_way --
-- Used slots are counted, not stored, so a crash cannot leak one.
SELECT queue, COUNT(*) AS used,
       SUM(CASE WHEN status = 'submitting' AND due_at IS NOT NULL THEN 1 ELSE 0 END) AS sending
FROM jobs
WHERE status IN ('submitting', 'submitted', 'running') GROUP BY queue

-- queues_waiting --
-- The queues that have jobs. Each step reads one entry of the index, however many jobs wait.
WITH RECURSIVE waiting (queue) AS (
    SELECT MIN(queue) FROM jobs WHERE status = 'queued'
    UNION ALL
    SELECT (SELECT MIN(j.queue) FROM jobs j WHERE j.status = 'queued' AND j.queue > waiting.queue)
    FROM waiting WHERE waiting.queue IS NOT NULL)
SELECT queue FROM waiting WHERE queue IS NOT NULL

-- jobs_queued --
-- The next jobs of one queue, oldest first.
SELECT doc FROM jobs
WHERE status = 'queued' AND queue = :queue
  AND (due_at IS NULL OR due_at <= :at)
ORDER BY id LIMIT :limit
{skip_locked}

-- unanswered_jobs --
-- Jobs whose sender's lease ended before the answer came: it is unknown whether they were sent.
SELECT doc FROM jobs
WHERE status = 'submitting' AND due_at <= :at
ORDER BY due_at LIMIT :limit
{skip_locked}

-- claim_checks --
-- Leases jobs that are due for a check, so that no provider is asked twice. The lease has its own
-- column, because a callback may rewrite the job meanwhile.
WITH due AS MATERIALIZED (
    SELECT id FROM jobs
    WHERE next_check_at <= :at AND (check_lease_until IS NULL OR check_lease_until <= :at)
    ORDER BY next_check_at LIMIT :limit
    {skip_locked})
UPDATE jobs SET check_lease_until = :lease_until WHERE id IN (SELECT id FROM due)
RETURNING doc

-- end_check --
-- Ends the lease unless another process has taken it over.
UPDATE jobs SET check_lease_until = NULL
WHERE id = :id AND check_lease_until = :lease_until

-- next_job_due --
-- When the submitter must claim again, even if nothing wakes it.
-- Only queued and submitting jobs have a due time.
SELECT MIN(due_at) AS at FROM jobs WHERE due_at IS NOT NULL

-- next_check --
-- When the reconciler must claim again, even if nothing wakes it.
SELECT MIN(next_check_at) AS at FROM jobs
WHERE next_check_at IS NOT NULL AND (check_lease_until IS NULL OR check_lease_until <= :at)

-- expire_job_leases --
-- At start on SQLite: no other process can hold these.
UPDATE jobs SET due_at = :at
WHERE status = 'submitting' AND due_at > :at

-- expire_check_leases --
-- At start on SQLite: no other process can hold these.
UPDATE jobs SET check_lease_until = NULL
WHERE next_check_at IS NOT NULL AND check_lease_until IS NOT NULL

-- idempotency --
-- The request that used this key: digest of its body, and its jobs.
SELECT digest, job_ids FROM idempotency WHERE tenant = :tenant AND name = :name

-- add_idempotency --
-- Returns no row if the key is taken.
INSERT INTO idempotency (tenant, name, digest, job_ids, created_at)
VALUES (:tenant, :name, :digest, :job_ids, :created_at)
ON CONFLICT (tenant, name) DO NOTHING
RETURNING name
