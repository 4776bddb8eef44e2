-- The event log.

-- lock_event_log --
-- Sequences are assigned before commit and would become visible out of order; readers of `seq >
-- last` would miss the late ones.
SELECT pg_advisory_xact_lock(7140002)

-- notify --
-- Wakes other processes at the commit; one message for a batch.
SELECT pg_notify('belfry', :message)

-- add_event --
-- The log is append-only and ordered by `seq`.
INSERT INTO events (id, tenant, type, at, sequence, job_id, provider, operation, tags, payload)
VALUES (:id, :tenant, :type, :at, :sequence, :job_id, :provider, :operation, :tags, :payload)

-- events_after --
-- The next events of a tenant, oldest first.
SELECT seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload FROM events
WHERE tenant = :tenant AND seq > :seq
  {?until}AND at <= :until
ORDER BY seq LIMIT :limit

-- event_page --
-- The same, cut after the event that reaches :max_bytes. LENGTH is known without reading payloads;
-- CROSS JOIN makes SQLite look up each event of the page by `seq`.
SELECT events.seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload
FROM (
    SELECT seq, SUM(size) OVER (ORDER BY seq) - size AS bytes_before FROM (
        SELECT seq, LENGTH(payload) AS size FROM events
        WHERE tenant = :tenant AND seq > :seq
          {?job}AND job_id = :job
        ORDER BY seq LIMIT :limit
    ) AS sizes
) AS page CROSS JOIN events
WHERE events.seq = page.seq AND page.bytes_before < :max_bytes ORDER BY page.seq

-- list_events --
-- Newest first.
SELECT seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload FROM events
WHERE tenant = :tenant AND seq < :cursor
  {?event_types}AND type {in:event_types}
  {?job}AND job_id = :job
  {?provider}AND provider = :provider
ORDER BY seq DESC LIMIT :limit

-- event --
-- One event of a tenant.
SELECT seq, id, tenant, type, at, sequence, job_id, provider, operation, tags, payload FROM events
WHERE tenant = :tenant AND id = :id

-- event_payloads --
-- The exact bytes to send.
SELECT id, payload FROM events WHERE id {in:ids}

-- last_seq --
-- The end of the log.
SELECT COALESCE(MAX(seq), 0) AS seq FROM events

-- tenants_after --
-- Tenants with new events. The LIMIT keeps both databases on the range of the primary key.
SELECT tenant, MAX(seq) AS seq FROM (
    SELECT tenant, seq FROM events WHERE seq > :seq ORDER BY seq LIMIT :limit
) AS latest
GROUP BY tenant

-- first_seq --
-- The first event at or after a time: ids sort by time.
SELECT seq FROM events WHERE id >= :since ORDER BY id LIMIT 1
