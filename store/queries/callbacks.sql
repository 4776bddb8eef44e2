-- Callbacks as received.

-- upsert_callback --
-- For callbacks that moved their job. The same bytes are stored once and counted; the latest
-- verdict is kept.
INSERT INTO callbacks (id, tenant, job_id, provider, ref, verdict, digest, body, received_at,
                       repeats, reconcile_reason, headers)
VALUES (:id, :tenant, :job_id, :provider, :ref, :verdict, :digest, :body, :received_at, 0,
        :reconcile_reason, :headers)
ON CONFLICT (job_id, digest) DO UPDATE
SET verdict = excluded.verdict, body = excluded.body, repeats = callbacks.repeats + 1,
    reconcile_reason = excluded.reconcile_reason, settled_at = NULL, settlement = NULL

-- insert_or_count_callback --
-- For callbacks that moved nothing; `repeats` tells whether the bytes were stored before.
INSERT INTO callbacks (id, tenant, job_id, provider, ref, verdict, digest, body, received_at,
                       repeats, reconcile_reason, headers)
VALUES (:id, :tenant, :job_id, :provider, :ref, :verdict, :digest, :body, :received_at, 0,
        :reconcile_reason, :headers)
ON CONFLICT (job_id, digest) DO UPDATE SET repeats = callbacks.repeats + 1
RETURNING repeats

-- reassess_callback --
-- After a replay.
UPDATE callbacks
SET verdict = :verdict, reconcile_reason = :reconcile_reason, settled_at = NULL, settlement = NULL
WHERE id = :id

-- resolve_callbacks --
-- Stores what the provider said when it was asked about the job.
UPDATE callbacks SET settled_at = :at, settlement = :settlement
WHERE job_id = :job_id AND reconcile_reason IS NOT NULL AND settled_at IS NULL

-- list_callbacks --
-- Newest first, without bodies.
SELECT id, tenant, job_id, provider, ref, verdict, digest, received_at, repeats,
       reconcile_reason, settled_at, settlement FROM callbacks
WHERE tenant = :tenant AND id < :cursor
  {?verdict}AND verdict = :verdict
  {?quarantined}AND reconcile_reason IS NOT NULL AND :quarantined = 'true'
ORDER BY id DESC LIMIT :limit

-- list_callbacks_selective --
-- Those of one job, see list_jobs_selective.
SELECT id, tenant, job_id, provider, ref, verdict, digest, received_at, repeats,
       reconcile_reason, settled_at, settlement FROM callbacks
WHERE {noindex:tenant} = :tenant AND {noindex:id} < :cursor AND job_id = :job
  {?verdict}AND verdict = :verdict
  {?quarantined}AND reconcile_reason IS NOT NULL AND :quarantined = 'true'
ORDER BY id DESC LIMIT :limit

-- callback --
-- One callback with its body.
SELECT id, tenant, job_id, provider, ref, verdict, digest, received_at, repeats, body,
       reconcile_reason, settled_at, settlement, headers
FROM callbacks WHERE tenant = :tenant AND id = :id
