-- Receivers: health, leases of processes, backlogs and rate limits.

-- receiver_health --
-- Only failing receivers have a row.
SELECT subscription_id, failures, failing_since, probes, probe_at, warned, last_error,
       last_error_at
FROM receiver_health WHERE subscription_id {in:ids}

-- put_receiver_health --
-- After a failed attempt.
INSERT INTO receiver_health (subscription_id, failures, failing_since, probes, probe_at, warned,
                             last_error, last_error_at)
VALUES (:subscription_id, :failures, :failing_since, :probes, :probe_at, :warned, :last_error,
        :last_error_at)
ON CONFLICT (subscription_id) DO UPDATE
SET failures = excluded.failures, failing_since = excluded.failing_since, probes = excluded.probes,
    probe_at = excluded.probe_at, warned = excluded.warned, last_error = excluded.last_error,
    last_error_at = excluded.last_error_at

-- delete_receiver_health --
-- The receiver works again, or its subscription is deleted.
DELETE FROM receiver_health WHERE subscription_id = :id

-- due_probes --
-- Held receivers that are due for a probe.
SELECT h.subscription_id FROM receiver_health h
WHERE h.probe_at <= :at AND h.subscription_id {not_in:excluded} AND EXISTS (
    SELECT 1 FROM subscriptions s WHERE s.id = h.subscription_id AND s.enabled = 1 AND s.paused = 0)
ORDER BY h.probe_at LIMIT :limit
{skip_locked}

-- lease_probe --
-- No other process probes it during the lease.
UPDATE receiver_health SET probe_at = :lease_until WHERE subscription_id = :id

-- next_probe --
-- When the next probe is due.
SELECT MIN(probe_at) AS at FROM receiver_health WHERE probe_at IS NOT NULL

-- lock_receiver_leases --
-- One process at a time takes or releases receivers.
SELECT pg_advisory_xact_lock(7140004)

-- receiver_leases --
-- Which process sends to which receiver. Each process has a row with its own name, so that all are
-- counted.
SELECT subscription_id, owner FROM receiver_leases

-- release_receiver_leases --
-- Receivers whose queue is empty in this process, and those of stopped processes.
DELETE FROM receiver_leases WHERE until <= :at OR (owner = :owner AND subscription_id {not_in:kept})

-- lease_receiver --
-- Until the tasks claimed for it can no longer be under way.
INSERT INTO receiver_leases (subscription_id, owner, until) VALUES (:subscription, :owner, :until)
ON CONFLICT (subscription_id) DO UPDATE SET until = excluded.until

-- mark_backlog --
-- Parked deliveries may exist although the subscription is deliverable. Counted, so that a late
-- end_backlog has no effect.
UPDATE subscriptions SET backlog = backlog + 1 WHERE id = :id

-- backlogs --
-- Deliverable subscriptions that may have parked deliveries.
SELECT id, backlog FROM subscriptions
WHERE backlog > 0 AND deliverable = 1 AND rate = 0 AND id {not_in:excluded} ORDER BY id LIMIT :limit

-- end_backlog --
-- Nothing is parked any more.
UPDATE subscriptions SET backlog = 0
WHERE id = :id AND backlog = :backlog AND NOT EXISTS (
    SELECT 1 FROM deliveries d
    WHERE d.subscription_id = :id AND d.status = 'pending' AND d.due_at IS NULL)

-- rate_limited_subscriptions --
-- Rate-limited subscriptions with work whose next slot is near. A slot too far ahead was assigned
-- before the clock was set back.
SELECT id, rate, CASE WHEN s.next_send_at > :too_far THEN 0 ELSE s.next_send_at END AS next_send_at
FROM subscriptions s
WHERE s.rate > 0 AND s.deliverable = 1 AND (s.next_send_at < :horizon OR s.next_send_at > :too_far)
  AND s.id {not_in:excluded} AND EXISTS (
    SELECT 1 FROM deliveries d WHERE d.subscription_id = s.id AND d.status = 'pending'
      AND (d.due_at <= :at OR d.due_at IS NULL))
ORDER BY s.next_send_at LIMIT :limit
{skip_locked}

-- set_next_send --
-- The next free slot.
UPDATE subscriptions SET next_send_at = :next_send_at WHERE id = :id

-- defer_next_send --
-- A slot that was used late delays those after it.
UPDATE subscriptions SET next_send_at = :next_send_at
WHERE id = :id AND next_send_at < :next_send_at

-- next_rate_slot --
-- When the next rate-limited delivery may be sent.
SELECT MIN(s.next_send_at) AS at FROM subscriptions s
WHERE s.rate > 0 AND s.deliverable = 1 AND EXISTS (
    SELECT 1 FROM deliveries d WHERE d.subscription_id = s.id AND d.status = 'pending'
      AND d.due_at IS NULL)
