-- Every query, once, for both databases. A block is `-- name --`, a line of why, and one statement.
-- Parameters are :named; the words in braces are the dialect's (see dialect.py).

-- add_job --
-- A job is on disk before it is sent.
INSERT INTO jobs (id, tenant, provider, operation, account, status, reply_ref, provider_task_id,
                  due_at, check_at, version, doc)
VALUES (:id, :tenant, :provider, :operation, :account, :status, :reply_ref, :provider_task_id,
        :due_at, :check_at, :version, :doc)

-- add_input --
-- Inputs stand apart: they may be megabytes, and a job is rewritten at each of its moves.
INSERT INTO job_inputs (job_id, input) VALUES (:job_id, :input)

-- add_tag --
-- Tags are looked up, not searched for.
INSERT INTO job_tags (tenant, tag, job_id) VALUES (:tenant, :tag, :job_id)
ON CONFLICT (tenant, tag, job_id) DO NOTHING

-- add_submission --
-- The ref exists before the request that bears it.
INSERT INTO submissions (ref, job_id, created_at) VALUES (:ref, :job_id, :created_at)

-- add_task_uuid --
-- A client's own reference: the first job of a tenant has it.
INSERT INTO task_uuids (tenant, uuid, job_id) VALUES (:tenant, :uuid, :job_id)
ON CONFLICT (tenant, uuid) DO NOTHING

-- conflicting_task_uuids --
-- Those that another job of the tenant has.
SELECT uuid FROM task_uuids WHERE tenant = :tenant AND uuid {in:uuids} AND job_id {not_in:jobs}

-- move_job --
-- The columns beside the document follow it.
UPDATE jobs
SET status = :status, provider_task_id = :provider_task_id, due_at = :due_at,
    check_at = :check_at, version = :version, doc = :doc
WHERE id = :id

-- lock_jobs --
-- In one order, so that two batches never deadlock; and before they are read, because a statement
-- that had to wait for a lock sees the row anew, but not what stands beside it.
SELECT j.id FROM submissions s JOIN jobs j ON j.id = s.job_id
WHERE s.ref {in:refs} ORDER BY j.id FOR UPDATE OF j

-- jobs_by_ref --
-- What a batch of callbacks is about.
SELECT s.ref, j.doc, {revision} AS revision,
       EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.status = 'pending') AS owed
FROM submissions s
JOIN jobs j ON j.id = s.job_id
WHERE s.ref {in:refs}
ORDER BY j.id

-- owed_pairs --
-- Whoever is still owed an earlier event of these jobs must not get a later one first.
SELECT job_id, subscription_id, MAX(sequence) AS sequence FROM deliveries
WHERE status = 'pending' AND job_id {in:jobs} GROUP BY job_id, subscription_id

-- answer_submission --
-- The provider's answer, raw, for those who ask what it said.
UPDATE submissions SET answered_at = :at, status_code = :status_code, answer = :body
WHERE ref = :ref

-- ended_among --
-- For those who wait for the end of a job that another process may bring.
SELECT id FROM jobs
WHERE id {in:jobs} AND status IN ('succeeded', 'failed', 'canceled', 'expired')

-- job --
-- A tenant never sees another's rows.
SELECT doc FROM jobs WHERE tenant = :tenant AND id = :id

-- list_jobs --
-- Ids sort by time, so newest first is by id.
SELECT doc FROM jobs WHERE tenant = :tenant AND id < :cursor {where} ORDER BY id DESC LIMIT :limit

-- list_jobs_few --
-- Where a filter leaves few. What is joined to something has no index: SQLite, which knows no
-- numbers, would rather walk all that the tenant has than sort a few.
SELECT doc FROM jobs WHERE tenant || '' = :tenant AND id || '' < :cursor {where}
ORDER BY id DESC LIMIT :limit

-- list_jobs_tagged --
-- Those with a tag, however few they are.
SELECT j.doc FROM job_tags t CROSS JOIN jobs j
WHERE t.tenant = :tenant AND t.tag = :tag AND t.job_id < :cursor AND j.id = t.job_id {where}
ORDER BY t.job_id DESC LIMIT :limit

-- inputs --
-- The inputs of jobs that are about to be sent or shown.
SELECT job_id, input FROM job_inputs WHERE job_id {in:jobs}

-- last_callback --
-- The provider's own last word on a job, as it came in.
SELECT body FROM callbacks WHERE job_id = :job_id AND verdict IN ('accepted', 'late')
ORDER BY id DESC LIMIT 1

-- last_answer --
-- Or what it answered when the job was sent.
SELECT answer FROM submissions WHERE job_id = :job_id AND answer IS NOT NULL
ORDER BY created_at DESC LIMIT 1

-- lock_claims --
-- One process at a time counts the slots in use and takes more.
SELECT pg_advisory_xact_lock(7140001)

-- jobs_under_way --
-- The slots in use are counted, not remembered, so a restart cannot lose one.
SELECT account, COUNT(*) AS used,
       SUM(CASE WHEN status = 'submitting' AND due_at IS NOT NULL THEN 1 ELSE 0 END) AS sending
FROM jobs
WHERE status IN ('submitting', 'submitted', 'running') GROUP BY account

-- accounts_waiting --
-- Accounts that have work to be sent. SQLite takes a partial index only for its own words, so here
-- and below they are said beside what follows from them.
SELECT account FROM jobs
WHERE status = 'queued' AND status IN ('queued', 'submitting') GROUP BY account

-- jobs_queued --
-- The next jobs of one account, oldest first.
SELECT doc FROM jobs
WHERE status = 'queued' AND status IN ('queued', 'submitting') AND account = :account
  AND (due_at IS NULL OR due_at <= :at)
ORDER BY id LIMIT :limit
{skip_locked}

-- jobs_in_doubt --
-- Found in `submitting` after the lease of whoever sent them: nobody knows whether they left.
SELECT doc FROM jobs
WHERE status = 'submitting' AND status IN ('queued', 'submitting') AND due_at <= :at
ORDER BY id LIMIT :limit
{skip_locked}

-- claim_checks --
-- Jobs to be looked at, leased until `:lease_until`, so that no provider is asked twice. The lease
-- has a column of its own: a callback that moves the job in the meantime leaves it alone.
WITH due AS MATERIALIZED (
    SELECT id FROM jobs
    WHERE check_at <= :at AND (check_leased_until IS NULL OR check_leased_until <= :at)
    ORDER BY check_at LIMIT :limit
    {skip_locked})
UPDATE jobs SET check_leased_until = :lease_until WHERE id IN (SELECT id FROM due)
RETURNING doc

-- end_check --
-- It has been looked at; a lease that was taken over since belongs to somebody else.
UPDATE jobs SET check_leased_until = NULL
WHERE id = :id AND check_leased_until = :lease_until

-- next_job_due --
-- When the submitter has something to do that nothing else wakes it for.
SELECT MIN(due_at) AS at FROM jobs WHERE status IN ('queued', 'submitting') AND due_at IS NOT NULL

-- next_check --
-- When the sweeper has something to do.
SELECT MIN(check_at) AS at FROM jobs
WHERE check_at IS NOT NULL AND (check_leased_until IS NULL OR check_leased_until <= :at)

-- accounts_held --
-- A provider that said it is busy is left alone until then, or until fewer jobs are under way; one
-- that refused our account gets one job at a time until it takes one.
SELECT account, CASE WHEN held_until > :at THEN slots END AS slots, paused_for FROM accounts
WHERE held_until > :at OR paused_for IS NOT NULL

-- hold_account --
-- The latest word counts. Unless it is strict, as many slots are left as are in use, so the next
-- job goes as soon as one of those is free.
INSERT INTO accounts (account, held_until, slots, paused_for, paused_at)
VALUES (:account, :until, CASE WHEN :strict = 1 THEN 0 ELSE (
    SELECT COUNT(*) FROM jobs
    WHERE account = :account AND status IN ('submitting', 'submitted', 'running')) END,
    :paused_for, :paused_at)
ON CONFLICT (account) DO UPDATE SET held_until = excluded.held_until, slots = excluded.slots,
    paused_for = COALESCE(excluded.paused_for, accounts.paused_for),
    paused_at = COALESCE(accounts.paused_at, excluded.paused_at)

-- resume_account --
-- It took a job: all its slots are open again.
UPDATE accounts SET held_until = 0, paused_for = NULL, paused_at = NULL
WHERE account = :account

-- accounts_paused --
-- Which of the accounts are paused, and why.
SELECT account, paused_for, paused_at FROM accounts WHERE paused_for IS NOT NULL ORDER BY account

-- next_hold_end --
-- When an account that was busy may be asked again.
SELECT MIN(held_until) AS at FROM accounts WHERE held_until > :at

-- void_delivery_leases --
-- For a process that knows it is alone: whoever held these is gone, whatever the clock says.
UPDATE deliveries SET due_at = :at, leased = 0
WHERE status = 'pending' AND due_at < {held} AND leased = 1

-- void_job_leases --
-- The same for jobs whose sender is gone.
UPDATE jobs SET due_at = :at
WHERE status = 'submitting' AND status IN ('queued', 'submitting') AND due_at > :at

-- void_check_leases --
-- The same for jobs whose provider was being asked.
UPDATE jobs SET check_leased_until = NULL
WHERE check_at IS NOT NULL AND check_leased_until IS NOT NULL

-- idempotency --
-- Whether this key has been used, with which body, for which jobs.
SELECT digest, job_ids FROM idempotency WHERE tenant = :tenant AND name = :name

-- add_idempotency --
-- Two requests with one key: the second is told of no row.
INSERT INTO idempotency (tenant, name, digest, job_ids, created_at)
VALUES (:tenant, :name, :digest, :job_ids, :created_at)
ON CONFLICT (tenant, name) DO NOTHING
RETURNING name

-- jobs_by_id --
-- Several at once: those of a repeated request, or those that somebody waits for.
SELECT id, doc FROM jobs WHERE tenant = :tenant AND id {in:jobs}

-- add_callback --
-- The same bytes are one callback, counted; that it moved its job now is what is kept of it.
INSERT INTO callbacks (id, tenant, job_id, provider, ref, verdict, digest, body, received_at,
                       repeats, doubt)
VALUES (:id, :tenant, :job_id, :provider, :ref, :verdict, :digest, :body, :received_at, 0,
        :doubt)
ON CONFLICT (job_id, digest) DO UPDATE
SET verdict = excluded.verdict, body = excluded.body, repeats = callbacks.repeats + 1,
    doubt = excluded.doubt, settled_at = NULL, settlement = NULL

-- take_callback --
-- The same, for those that moved nothing: the answer tells whether it is a repetition.
INSERT INTO callbacks (id, tenant, job_id, provider, ref, verdict, digest, body, received_at,
                       repeats, doubt)
VALUES (:id, :tenant, :job_id, :provider, :ref, :verdict, :digest, :body, :received_at, 0,
        :doubt)
ON CONFLICT (job_id, digest) DO UPDATE SET repeats = callbacks.repeats + 1
RETURNING repeats

-- rejudge_callback --
-- It was processed again, with an adapter that may read it better.
UPDATE callbacks SET verdict = :verdict, doubt = :doubt, settled_at = NULL, settlement = NULL
WHERE id = :id

-- settle_callbacks --
-- What the provider said when it was asked about a job.
UPDATE callbacks SET settled_at = :at, settlement = :settlement
WHERE job_id = :job_id AND doubt IS NOT NULL AND settled_at IS NULL

-- list_callbacks --
-- Newest first, without bodies.
SELECT id, tenant, job_id, provider, ref, verdict, digest, received_at, repeats,
       doubt, settled_at, settlement FROM callbacks
WHERE tenant = :tenant AND id < :cursor {where} ORDER BY id DESC LIMIT :limit

-- list_callbacks_few --
-- Those of one job.
SELECT id, tenant, job_id, provider, ref, verdict, digest, received_at, repeats,
       doubt, settled_at, settlement FROM callbacks
WHERE tenant || '' = :tenant AND id || '' < :cursor {where} ORDER BY id DESC LIMIT :limit

-- callback --
-- One, raw.
SELECT id, tenant, job_id, provider, ref, verdict, digest, received_at, repeats, body,
       doubt, settled_at, settlement
FROM callbacks WHERE tenant = :tenant AND id = :id

-- lock_log --
-- Sequences commit out of order; readers by `seq > last` would skip what commits late.
SELECT pg_advisory_xact_lock(7140002)

-- notify --
-- A hint to the other processes, given at the commit; one for a batch.
SELECT pg_notify('belfry', :hint)

-- add_event --
-- The log is append-only; seq is its order.
INSERT INTO events (id, tenant, type, at, sequence, job_id, provider, operation, tags, payload)
VALUES (:id, :tenant, :type, :at, :sequence, :job_id, :provider, :operation, :tags, :payload)

-- events_after --
-- The next events of a tenant, oldest first.
SELECT seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload FROM events
WHERE tenant = :tenant AND seq > :seq {where} ORDER BY seq LIMIT :limit

-- page_after --
-- The same, but no event after the one with which the payloads reach :max_bytes. Lengths are known
-- without reading payloads; CROSS JOIN makes SQLite look up each event of the page by its seq.
SELECT events.seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload
FROM (
    SELECT seq, SUM(size) OVER (ORDER BY seq) - size AS bytes_before FROM (
        SELECT seq, LENGTH(payload) AS size FROM events
        WHERE tenant = :tenant AND seq > :seq {where} ORDER BY seq LIMIT :limit
    ) AS sizes
) AS page CROSS JOIN events
WHERE events.seq = page.seq AND page.bytes_before < :max_bytes ORDER BY page.seq

-- list_events --
-- Newest first.
SELECT seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload FROM events
WHERE tenant = :tenant AND seq < :cursor {where} ORDER BY seq DESC LIMIT :limit

-- event --
-- One, by id.
SELECT seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload FROM events
WHERE tenant = :tenant AND id = :id

-- last_seq --
-- Where the log stands now.
SELECT COALESCE(MAX(seq), 0) AS seq FROM events

-- tenants_after --
-- Who has new events. The LIMIT keeps both databases to the range of the primary key.
SELECT tenant, MAX(seq) AS seq FROM (
    SELECT tenant, seq FROM events WHERE seq > :seq ORDER BY seq LIMIT :limit
) AS latest
GROUP BY tenant

-- share_subscriptions --
-- Whoever fans out holds off those who change subscriptions: nothing is owed to a deleted one.
SELECT pg_advisory_xact_lock_shared(7140003)

-- lock_subscriptions --
-- One change of subscriptions at a time, and none while an event is fanned out.
SELECT pg_advisory_xact_lock(7140003)

-- standing --
-- The subscriptions that new events are matched with.
SELECT doc FROM subscriptions WHERE kind = 'permanent' ORDER BY id

-- revision --
-- Whether the subscriptions have changed since they were last read.
SELECT value AS revision FROM revisions WHERE name = 'subscriptions'

-- subscriptions_by_id --
-- Those of given ids.
SELECT id, doc FROM subscriptions WHERE id {in:ids}

-- reply_subscription --
-- One receiver is one subscription, however many jobs reply to it.
SELECT doc FROM subscriptions WHERE tenant = :tenant AND kind = 'per_job' AND url = :url

-- add_reply_subscription --
-- Unless another process has just made it.
INSERT INTO subscriptions (id, tenant, kind, url, enabled, paused, is_open, rate, doc)
VALUES (:id, :tenant, :kind, :url, :enabled, :paused, :is_open, :rate, :doc)
ON CONFLICT (tenant, url) WHERE kind = 'per_job' DO NOTHING

-- put_subscription --
-- Made or changed.
INSERT INTO subscriptions (id, tenant, kind, url, enabled, paused, is_open, rate, doc)
VALUES (:id, :tenant, :kind, :url, :enabled, :paused, :is_open, :rate, :doc)
ON CONFLICT (id) DO UPDATE
SET url = excluded.url, enabled = excluded.enabled, paused = excluded.paused,
    is_open = excluded.is_open, rate = excluded.rate, backlog = subscriptions.backlog + 1,
    doc = excluded.doc

-- subscription --
-- One, for its tenant.
SELECT doc FROM subscriptions WHERE tenant = :tenant AND id = :id

-- list_subscriptions --
-- Newest first.
SELECT doc FROM subscriptions WHERE tenant = :tenant AND id < :cursor {where}
ORDER BY id DESC LIMIT :limit

-- delete_subscription --
-- What it was still owed is canceled in the same transaction.
DELETE FROM subscriptions WHERE tenant = :tenant AND id = :id RETURNING id

-- cancel_deliveries --
-- Nobody is there to take them. They are locked in the order in which they are settled.
WITH owed AS MATERIALIZED (
    SELECT id FROM deliveries WHERE subscription_id = :id AND status = 'pending'
    ORDER BY id
    {lock})
UPDATE deliveries SET status = 'canceled', settled_at = :at WHERE id IN (SELECT id FROM owed)

-- revise --
-- Tells every process that the subscriptions have changed.
UPDATE revisions SET value = value + 1 WHERE name = 'subscriptions'

-- add_delivery --
-- Owed in the same transaction as the event; claims 1 when a courier has it in hand already.
INSERT INTO deliveries (id, tenant, event_id, subscription_id, job_id, sequence, type, status,
                        created_at, due_at, tries, claims, leased)
VALUES (:id, :tenant, :event_id, :subscription_id, :job_id, :sequence, :type, 'pending',
        :created_at, :due_at, 0, :claims, :leased)

-- supersede --
-- A newer snapshot of the job is there; what has been sent, or may be under way, stays.
UPDATE deliveries SET status = 'superseded', settled_at = :at
WHERE status = 'pending' AND job_id = :job_id AND subscription_id = :subscription_id
  AND sequence < :sequence AND type = 'job.progress'
  AND (claims = 0 OR due_at <= :at OR due_at >= {held})

-- supersede_claimed --
-- The same for what a courier has in hand and has not sent.
UPDATE deliveries SET status = 'superseded', settled_at = :at
WHERE id = :id AND claims = :claims AND status = 'pending'

-- due_deliveries --
-- What may be sent now, and never while an earlier event of the job is still owed. OFFSET keeps
-- PostgreSQL from turning what is asked of each row into a join that walks all that is owed.
SELECT d.id, d.subscription_id FROM deliveries d
WHERE d.status = 'pending' AND d.due_at <= :at AND d.due_at < {held}
  AND NOT EXISTS (
      SELECT 1 FROM deliveries e
      WHERE e.status = 'pending' AND e.job_id = d.job_id
        AND e.subscription_id = d.subscription_id AND e.sequence < d.sequence
      LIMIT 1 OFFSET 0)
  AND d.subscription_id {not_in:shut}
  AND EXISTS (
      SELECT 1 FROM subscriptions s
      WHERE s.id = d.subscription_id AND s.is_open = 1 AND s.rate = 0
      LIMIT 1 OFFSET 0)
ORDER BY d.due_at LIMIT :limit
{skip_locked}

-- due_of --
-- The oldest that may go of one subscription, parked or due: for probes, backlogs and rates.
SELECT d.id FROM deliveries d
WHERE d.subscription_id = :subscription AND d.status = 'pending'
  AND (d.due_at <= :at OR d.due_at >= {held})
  AND NOT EXISTS (
      SELECT 1 FROM deliveries e
      WHERE e.status = 'pending' AND e.job_id = d.job_id
        AND e.subscription_id = d.subscription_id AND e.sequence < d.sequence
      LIMIT 1 OFFSET 0)
ORDER BY d.id LIMIT :limit
{skip_locked}

-- lease_deliveries --
-- In one process's hands until then; the count of claims fences out whoever had them before.
UPDATE deliveries SET claims = claims + 1, due_at = :lease_until, leased = 1
WHERE id {in:ids}
RETURNING id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at,
          due_at, tries, claims, settled_at

-- lock_lanes --
-- One process at a time looks which lanes are free, and takes them.
SELECT pg_advisory_xact_lock(7140004)

-- lanes --
-- Which process sends to whom; a process has a row with its own name, so that all are counted.
SELECT subscription_id, owner FROM lanes

-- leave_lanes --
-- Those that ran empty, and those of processes that are gone.
DELETE FROM lanes WHERE until <= :at OR (owner = :owner AND subscription_id {not_in:kept})

-- take_lane --
-- For as long as the parcels that were claimed for it may be under way.
INSERT INTO lanes (subscription_id, owner, until) VALUES (:subscription, :owner, :until)
ON CONFLICT (subscription_id) DO UPDATE SET until = excluded.until

-- park_deliveries --
-- Due, and yet not to be sent now: out of the way, so that the next claim does not meet it again.
WITH due AS MATERIALIZED (
    SELECT d.id FROM deliveries d
    WHERE d.status = 'pending' AND d.due_at <= :at AND d.due_at < {held}
      AND (d.subscription_id {in:full}
           OR EXISTS (SELECT 1 FROM subscriptions s WHERE s.id = d.subscription_id
                      AND (s.is_open = 0 OR s.rate > 0) LIMIT 1 OFFSET 0))
    ORDER BY d.due_at LIMIT :limit
    {skip_locked})
UPDATE deliveries SET due_at = {held}, leased = 0 WHERE id IN (SELECT id FROM due)
RETURNING subscription_id

-- mark_backlog --
-- Something is parked for it though it is open; counted, so that no end of it is believed late.
UPDATE subscriptions SET backlog = backlog + 1 WHERE id = :id

-- backlogs --
-- Open subscriptions for which something may be parked.
SELECT id, backlog FROM subscriptions
WHERE backlog > 0 AND is_open = 1 AND rate = 0 AND id {not_in:shut} ORDER BY id LIMIT :limit

-- end_backlog --
-- Nothing is parked for it any more.
UPDATE subscriptions SET backlog = 0
WHERE id = :id AND backlog = :backlog AND NOT EXISTS (
    SELECT 1 FROM deliveries d
    WHERE d.subscription_id = :id AND d.status = 'pending' AND d.due_at >= {held})

-- rated --
-- Those with a rate, whose next turn is near, and which are owed something. A turn that lies too
-- far ahead was given out before the clock was set back.
SELECT id, rate, CASE WHEN s.rated_at > :too_far THEN 0 ELSE s.rated_at END AS rated_at
FROM subscriptions s
WHERE s.rate > 0 AND s.is_open = 1 AND (s.rated_at < :horizon OR s.rated_at > :too_far)
  AND s.id {not_in:shut} AND EXISTS (
    SELECT 1 FROM deliveries d WHERE d.subscription_id = s.id AND d.status = 'pending'
      AND (d.due_at <= :at OR d.due_at >= {held}))
ORDER BY s.rated_at LIMIT :limit
{skip_locked}

-- set_rated --
-- When its next turn is.
UPDATE subscriptions SET rated_at = :rated_at WHERE id = :id

-- due_probes --
-- Receivers whose time has come to be tried with one delivery.
SELECT h.subscription_id FROM health h
WHERE h.probe_at <= :at AND h.subscription_id {not_in:shut} AND EXISTS (
    SELECT 1 FROM subscriptions s WHERE s.id = h.subscription_id AND s.enabled = 1 AND s.paused = 0)
ORDER BY h.probe_at LIMIT :limit
{skip_locked}

-- put_off_probe --
-- It is being tried.
UPDATE health SET probe_at = :lease_until WHERE subscription_id = :id

-- next_probe --
-- When the next receiver is to be tried.
SELECT MIN(probe_at) AS at FROM health WHERE probe_at IS NOT NULL

-- put_off_turn --
-- A turn that was taken late puts off those that follow.
UPDATE subscriptions SET rated_at = :turn WHERE id = :id AND rated_at < :turn

-- next_turn --
-- When the next subscription with a rate may be sent to.
SELECT MIN(s.rated_at) AS at FROM subscriptions s
WHERE s.rate > 0 AND s.is_open = 1 AND EXISTS (
    SELECT 1 FROM deliveries d WHERE d.subscription_id = s.id AND d.status = 'pending'
      AND d.due_at >= {held})

-- health --
-- How the receivers of these subscriptions fail; none for those that are well.
SELECT subscription_id, failures, failing_since, probes, probe_at, warned, last_error,
       last_error_at
FROM health WHERE subscription_id {in:ids}

-- put_health --
-- It failed once more.
INSERT INTO health (subscription_id, failures, failing_since, probes, probe_at, warned, last_error,
                    last_error_at)
VALUES (:subscription_id, :failures, :failing_since, :probes, :probe_at, :warned, :last_error,
        :last_error_at)
ON CONFLICT (subscription_id) DO UPDATE
SET failures = excluded.failures, failing_since = excluded.failing_since, probes = excluded.probes,
    probe_at = excluded.probe_at, warned = excluded.warned, last_error = excluded.last_error,
    last_error_at = excluded.last_error_at

-- delete_health --
-- It is well again, or gone.
DELETE FROM health WHERE subscription_id = :id

-- dead_letters --
-- By receiver, and why the last of them was given up.
SELECT d.subscription_id, d.count, d.oldest, d.newest, a.status_code, a.error
FROM (SELECT subscription_id, COUNT(*) AS count, MIN(id) AS oldest, MAX(id) AS newest
      FROM deliveries WHERE tenant = :tenant AND status = 'dead' GROUP BY subscription_id) d
LEFT JOIN attempts a ON a.delivery_id = d.newest AND a.number = (
    SELECT MAX(number) FROM attempts WHERE delivery_id = d.newest)
ORDER BY d.subscription_id

-- payloads --
-- The exact bytes to send.
SELECT id, payload FROM events WHERE id {in:ids}

-- next_delivery_due --
-- When the courier has something to do that nothing else wakes it for.
SELECT MIN(due_at) AS at FROM deliveries WHERE status = 'pending' AND due_at < {held}

-- settle_delivery --
-- Only whoever holds the latest lease may settle.
UPDATE deliveries
SET status = :status, due_at = :due_at, tries = :tries, settled_at = :settled_at, leased = 0
WHERE id = :id AND claims = :claims AND status = 'pending'

-- release_delivery --
-- Given back unsent, and due at once.
UPDATE deliveries SET due_at = :at, leased = 0
WHERE id = :id AND claims = :claims AND status = 'pending'

-- add_attempt --
-- One row a POST; a claim makes at most one.
INSERT INTO attempts (delivery_id, number, at, status_code, duration_ms, error, excerpt, dns_ms,
                      connect_ms, tls_ms, first_byte_ms, headers)
VALUES (:delivery_id, :number, :at, :status_code, :duration_ms, :error, :excerpt, :dns_ms,
        :connect_ms, :tls_ms, :first_byte_ms, :headers)
ON CONFLICT (delivery_id, number) DO NOTHING

-- list_deliveries --
-- Newest first.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, claims, settled_at
FROM deliveries WHERE tenant = :tenant AND id < :cursor {where} ORDER BY id DESC LIMIT :limit

-- list_deliveries_of --
-- Those of one subscription: what it is owed and what is over have an index each.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, claims, settled_at
FROM deliveries WHERE tenant || '' = :tenant AND id < :cursor AND status = 'pending' {where}
UNION ALL
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, claims, settled_at
FROM deliveries WHERE tenant || '' = :tenant AND id < :cursor AND status <> 'pending' {where}
ORDER BY id DESC LIMIT :limit

-- list_deliveries_few --
-- Those of one job or event.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, claims, settled_at
FROM deliveries WHERE tenant || '' = :tenant AND id || '' < :cursor {where}
ORDER BY id DESC LIMIT :limit

-- delivery --
-- One, for its tenant.
SELECT id, tenant, event_id, subscription_id, job_id, sequence, type, status, created_at, due_at,
       tries, claims, settled_at
FROM deliveries WHERE tenant = :tenant AND id = :id

-- attempts --
-- In the order they were made.
SELECT number, at, status_code, duration_ms, error, excerpt, dns_ms, connect_ms, tls_ms,
       first_byte_ms, headers
FROM attempts
WHERE delivery_id = :delivery_id ORDER BY number

-- redeliver --
-- Owed again, from the first try.
UPDATE deliveries SET status = 'pending', due_at = :at, tries = 0, settled_at = NULL, leased = 0
WHERE tenant = :tenant AND id = :id

-- put_recovery --
-- Begun, gone on, or ended.
INSERT INTO recoveries (id, tenant, status, due_at, doc)
VALUES (:id, :tenant, :status, :due_at, :doc)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, due_at = excluded.due_at, doc = excluded.doc

-- recovery --
-- One, for its tenant.
SELECT doc FROM recoveries WHERE tenant = :tenant AND id = :id

-- list_recoveries --
-- Newest first.
SELECT doc FROM recoveries WHERE tenant = :tenant AND id < :cursor {where}
ORDER BY id DESC LIMIT :limit

-- claim_recovery --
-- One that runs, under a lease; a process that dies in a step leaves it to the next.
WITH due AS MATERIALIZED (
    SELECT id FROM recoveries WHERE status = 'running' AND due_at <= :at ORDER BY due_at LIMIT 1
    {skip_locked})
UPDATE recoveries SET due_at = :lease_until WHERE id IN (SELECT id FROM due)
RETURNING doc

-- first_seq --
-- Where in the log a time is: ids sort by time.
SELECT seq FROM events WHERE id >= :since ORDER BY id LIMIT 1

-- deliveries_of --
-- What became of events at one subscription.
SELECT id, event_id, status, tries, due_at FROM deliveries
WHERE subscription_id = :subscription AND event_id {in:ids}

-- old_jobs --
-- The next of those made long ago; outlived when they have ended and nobody is owed anything of
-- them any more. However many are not, only so many are looked at; ids sort by time.
SELECT j.id, CASE
    WHEN j.status NOT IN ('succeeded', 'failed', 'canceled', 'expired') THEN 0
    WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.status = 'pending') THEN 0
    ELSE 1 END AS outlived
FROM jobs j
WHERE j.id > :after AND j.id < :before
ORDER BY j.id LIMIT :limit
{skip_locked}

-- forget_attempts --
-- With the deliveries they belong to.
DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE job_id {in:jobs})

-- forget_deliveries --
-- All of them are settled.
DELETE FROM deliveries WHERE job_id {in:jobs}

-- forget_events --
-- Out of the log; seqs are never used again.
DELETE FROM events WHERE job_id {in:jobs}

-- forget_callbacks --
-- As they came in.
DELETE FROM callbacks WHERE job_id {in:jobs}

-- forget_submissions --
-- A callback that comes now is late.
DELETE FROM submissions WHERE job_id {in:jobs}

-- forget_tags --
-- With the job.
DELETE FROM job_tags WHERE job_id {in:jobs}

-- forget_task_uuids --
-- Its client may use it again.
DELETE FROM task_uuids WHERE job_id {in:jobs}

-- forget_inputs --
-- With the job.
DELETE FROM job_inputs WHERE job_id {in:jobs}

-- forget_jobs --
-- The last of a job.
DELETE FROM jobs WHERE id {in:jobs}

-- notices_outlived --
-- Events about no job of which nothing is owed.
SELECT e.id FROM events e
WHERE e.job_id IS NULL AND e.id < :before
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.status = 'pending')
ORDER BY e.id LIMIT :limit

-- forget_notice_attempts --
-- With the deliveries they belong to.
DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id {in:events})

-- forget_notice_deliveries --
-- All of them are settled.
DELETE FROM deliveries WHERE event_id {in:events}

-- forget_notices --
-- Out of the log.
DELETE FROM events WHERE id {in:events}

-- forget_idempotency --
-- Whoever repeats a request so late makes a new one.
DELETE FROM idempotency WHERE created_at < :at

-- forget_recoveries --
-- Done long ago.
DELETE FROM recoveries WHERE id < :before AND status <> 'running'

-- oldest_owed --
-- By one step of the index for each subscription, however much is owed.
SELECT MIN((SELECT MIN(d.id) FROM deliveries d
            WHERE d.subscription_id = s.id AND d.status = 'pending')) AS id
FROM subscriptions s

-- receiver_states --
-- How many receivers are sent to, and how many are not.
SELECT CASE WHEN enabled = 0 THEN 'disabled' WHEN paused = 1 THEN 'paused'
            WHEN is_open = 0 THEN 'held' ELSE 'active' END AS state, COUNT(*) AS count
FROM subscriptions GROUP BY 1

-- put_key --
-- The first admin key is put at each start, whether it is there or not.
INSERT INTO keys (id, hash, tenant, name, scopes, created_at)
VALUES (:id, :hash, :tenant, :name, :scopes, :created_at)
ON CONFLICT (hash) DO NOTHING

-- key_by_hash --
-- The one look-up that every request of a user pays.
SELECT id, hash, tenant, name, scopes, created_at FROM keys WHERE hash = :hash

-- key_exists --
-- Asked with each heartbeat of a stream.
SELECT 1 AS found FROM keys WHERE id = :id

-- list_keys --
-- Newest first.
SELECT id, hash, tenant, name, scopes, created_at FROM keys WHERE id < :cursor
ORDER BY id DESC LIMIT :limit

-- delete_key --
-- Gone at once.
DELETE FROM keys WHERE id = :id RETURNING id

-- has_keys --
-- Whether this is the first start.
SELECT 1 AS found FROM keys LIMIT 1

-- touch --
-- Proves that the database can be written: the value changes, or SQLite would write no page.
INSERT INTO revisions (name, value) VALUES ('readiness', 1)
ON CONFLICT (name) DO UPDATE SET value = revisions.value + 1
