-- Deliveries and attempts. Parked deliveries have no `due_at`: their receiver cannot take them now.

-- add_delivery --
-- Committed with its event. lease_version is 1 if this process sends it at once.
INSERT INTO deliveries (id, tenant, event_id, subscription_id, job_id, sequence, type, status,
                        created_at, due_at, tries, lease_version, leased)
VALUES (:id, :tenant, :event_id, :subscription_id, :job_id, :sequence, :type, 'pending',
        :created_at, :due_at, 0, :lease_version, :leased)

-- pending_pairs --
-- For each job and subscription, the newest event that is still pending: later events must wait for
-- it.
SELECT job_id, subscription_id, MAX(sequence) AS sequence FROM deliveries
WHERE status = 'pending' AND job_id {in:jobs} GROUP BY job_id, subscription_id

-- supersede_range --
-- A newer event of the job replaces progress that was not sent; leased deliveries may be under way
-- and stay.
UPDATE deliveries SET status = 'superseded', settled_at = :at
WHERE status = 'pending' AND job_id = :job_id AND subscription_id = :subscription_id
  AND sequence < :sequence AND type = 'job.progress'
  AND (lease_version = 0 OR due_at <= :at OR due_at IS NULL)

-- supersede_leased --
-- The same for a delivery that this process has leased but not sent.
UPDATE deliveries SET status = 'superseded', settled_at = :at
WHERE id = :id AND lease_version = :lease_version AND status = 'pending'

-- due_deliveries --
-- What may be sent now: never while an earlier event of the job is pending.
SELECT d.id, d.subscription_id FROM deliveries d
WHERE d.status = 'pending' AND d.due_at <= :at
  AND NOT EXISTS (
      SELECT 1 FROM deliveries e
      WHERE e.status = 'pending' AND e.job_id = d.job_id
        AND e.subscription_id = d.subscription_id AND e.sequence < d.sequence{fence})
  AND d.subscription_id {not_in:excluded}
  AND EXISTS (
      SELECT 1 FROM subscriptions s
      WHERE s.id = d.subscription_id AND s.deliverable = 1 AND s.rate = 0{fence})
ORDER BY d.due_at LIMIT :limit
{skip_locked}

-- next_of_subscription --
-- The oldest deliveries of one subscription that may be sent, parked or due: for probes, backlogs
-- and rate limits.
SELECT d.id FROM deliveries d
WHERE d.subscription_id = :subscription AND d.status = 'pending'
  AND (d.due_at <= :at OR d.due_at IS NULL)
  AND NOT EXISTS (
      SELECT 1 FROM deliveries e
      WHERE e.status = 'pending' AND e.job_id = d.job_id
        AND e.subscription_id = d.subscription_id AND e.sequence < d.sequence{fence})
ORDER BY d.id LIMIT :limit
{skip_locked}

-- lease_deliveries --
-- Only the holder of the latest lease_version may update a delivery.
UPDATE deliveries SET lease_version = lease_version + 1, due_at = :lease_until, leased = 1
WHERE id {in:ids}
RETURNING id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at,
          due_at, tries, lease_version, settled_at

-- park_deliveries --
-- Due, but the receiver's queue is full, held or rate-limited: parked so that the next claim does
-- not read them again.
WITH due AS MATERIALIZED (
    SELECT d.id FROM deliveries d
    WHERE d.status = 'pending' AND d.due_at <= :at
      AND (d.subscription_id {in:full}
           OR EXISTS (SELECT 1 FROM subscriptions s WHERE s.id = d.subscription_id
                      AND (s.deliverable = 0 OR s.rate > 0){fence}))
    ORDER BY d.due_at LIMIT :limit
    {skip_locked})
UPDATE deliveries SET due_at = NULL, leased = 0 WHERE id IN (SELECT id FROM due)
RETURNING subscription_id

-- cancel_deliveries --
-- Cancel the pending deliveries of a deleted subscription. Locked in the order in which attempts
-- are written.
WITH pending AS MATERIALIZED (
    SELECT id FROM deliveries WHERE subscription_id = :id AND status = 'pending'
    ORDER BY id
    {lock})
UPDATE deliveries SET status = 'canceled', settled_at = :at WHERE id IN (SELECT id FROM pending)

-- next_delivery_due --
-- When the dispatcher must look again without being woken. IS NOT NULL lets SQLite use the partial
-- index.
SELECT MIN(due_at) AS at FROM deliveries WHERE status = 'pending' AND due_at IS NOT NULL

-- update_delivery --
-- After an attempt; nothing changes if the lease was taken over.
UPDATE deliveries
SET status = :status, due_at = :due_at, tries = :tries, settled_at = :settled_at, leased = 0
WHERE id = :id AND lease_version = :lease_version AND status = 'pending'

-- release_delivery --
-- Given back unsent; due at once.
UPDATE deliveries SET due_at = :at, leased = 0
WHERE id = :id AND lease_version = :lease_version AND status = 'pending'

-- expire_delivery_leases --
-- At start on SQLite: no other process can hold these.
UPDATE deliveries SET due_at = :at, leased = 0
WHERE status = 'pending' AND due_at IS NOT NULL AND leased = 1

-- redeliver --
-- Pending again, with all tries.
UPDATE deliveries SET status = 'pending', due_at = :at, tries = 0, settled_at = NULL, leased = 0
WHERE tenant = :tenant AND id = :id

-- deliveries_of --
-- Deliveries of these events to one subscription.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, lease_version, settled_at
FROM deliveries WHERE subscription_id = :subscription AND event_id {in:ids}

-- list_deliveries --
-- Newest first.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, lease_version, settled_at
FROM deliveries WHERE tenant = :tenant AND id < :cursor
  {?status}AND status = :status
ORDER BY id DESC LIMIT :limit

-- list_deliveries_of_subscription --
-- Pending and finished deliveries have an index each.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, lease_version, settled_at
FROM deliveries WHERE {noindex:tenant} = :tenant AND id < :cursor AND status = 'pending'
  AND subscription_id = :subscription
  {?status}AND status = :status
  {?event}AND event_id = :event
  {?job}AND job_id = :job
UNION ALL
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, lease_version, settled_at
FROM deliveries WHERE {noindex:tenant} = :tenant AND id < :cursor AND status <> 'pending'
  AND subscription_id = :subscription
  {?status}AND status = :status
  {?event}AND event_id = :event
  {?job}AND job_id = :job
ORDER BY id DESC LIMIT :limit

-- list_deliveries_selective --
-- For filters that match few rows, see list_jobs_selective.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, lease_version, settled_at
FROM deliveries WHERE {noindex:tenant} = :tenant AND {noindex:id} < :cursor
  {?event}AND event_id = :event
  {?job}AND job_id = :job
  {?subscription}AND subscription_id = :subscription
  {?status}AND status = :status
ORDER BY id DESC LIMIT :limit

-- delivery --
-- One delivery of a tenant.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, lease_version, settled_at
FROM deliveries WHERE tenant = :tenant AND id = :id

-- delivery_with_attempts --
-- One delivery of a tenant, with a row for each attempt in order, or one row if there is none. In
-- one statement, so that the two belong together.
SELECT d.id, d.tenant, d.event_id, d.subscription_id, d.job_id, d.sequence, d.type, d.status,
       d.created_at, d.due_at, d.tries, d.lease_version, d.settled_at,
       a.number, a.at, a.status_code, a.duration_ms, a.error, a.excerpt, a.dns_ms, a.connect_ms,
       a.tls_ms, a.first_byte_ms, a.headers
FROM deliveries d LEFT JOIN attempts a ON a.delivery_id = d.id
WHERE d.tenant = :tenant AND d.id = :id
ORDER BY a.number

-- dead_letters --
-- Dead deliveries per subscription, with the last attempt of the newest.
SELECT d.subscription_id, d.count, d.oldest, d.newest, a.status_code, a.error
FROM (SELECT subscription_id, COUNT(*) AS count, MIN(id) AS oldest, MAX(id) AS newest
      FROM deliveries WHERE tenant = :tenant AND status = 'dead' GROUP BY subscription_id) d
LEFT JOIN attempts a ON a.delivery_id = d.newest AND a.number = (
    SELECT MAX(number) FROM attempts WHERE delivery_id = d.newest)
ORDER BY d.subscription_id

-- oldest_pending --
-- One index step per subscription, however many deliveries are pending.
SELECT MIN((SELECT MIN(d.id) FROM deliveries d
            WHERE d.subscription_id = s.id AND d.status = 'pending')) AS id
FROM subscriptions s

-- add_attempt --
-- One row per POST, numbered by lease_version.
INSERT INTO attempts (delivery_id, number, at, status_code, duration_ms, error, excerpt, dns_ms,
                      connect_ms, tls_ms, first_byte_ms, headers)
VALUES (:delivery_id, :number, :at, :status_code, :duration_ms, :error, :excerpt, :dns_ms,
        :connect_ms, :tls_ms, :first_byte_ms, :headers)
ON CONFLICT (delivery_id, number) DO NOTHING
