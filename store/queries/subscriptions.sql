-- Subscriptions.

-- share_subscriptions --
-- Shared lock: blocks subscription changes during fan-out, so that no delivery is created for a
-- deleted subscription.
SELECT pg_advisory_xact_lock_shared(7140003)

-- lock_subscriptions --
-- Exclusive lock: one subscription change at a time, and none during fan-out.
SELECT pg_advisory_xact_lock(7140003)

-- permanent_subscriptions --
-- All that events are matched with.
SELECT doc FROM subscriptions WHERE kind = 'permanent' ORDER BY id

-- subscriptions_version --
-- Changes with every subscription; processes cache subscriptions by it.
SELECT value AS version FROM versions WHERE name = 'subscriptions'

-- bump_subscriptions_version --
-- Invalidates the cache of every process.
UPDATE versions SET value = value + 1 WHERE name = 'subscriptions'

-- subscriptions_by_id --
-- Several by id.
SELECT id, doc FROM subscriptions WHERE id {in:ids}

-- reply_subscription --
-- One row per tenant and reply URL, shared by all jobs with that URL.
SELECT doc FROM subscriptions WHERE tenant = :tenant AND kind = 'per_job' AND url = :url

-- add_reply_subscription --
-- Another process may have inserted it at the same time.
INSERT INTO subscriptions (id, tenant, kind, url, enabled, paused, deliverable, rate, doc)
VALUES (:id, :tenant, :kind, :url, :enabled, :paused, :deliverable, :rate, :doc)
ON CONFLICT (tenant, url) WHERE kind = 'per_job' DO NOTHING

-- put_subscription --
-- Inserts or replaces.
INSERT INTO subscriptions (id, tenant, kind, url, enabled, paused, deliverable, rate, doc)
VALUES (:id, :tenant, :kind, :url, :enabled, :paused, :deliverable, :rate, :doc)
ON CONFLICT (id) DO UPDATE
SET url = excluded.url, enabled = excluded.enabled, paused = excluded.paused,
    deliverable = excluded.deliverable, rate = excluded.rate, backlog = subscriptions.backlog + 1,
    doc = excluded.doc

-- subscription --
-- One subscription of a tenant.
SELECT doc FROM subscriptions WHERE tenant = :tenant AND id = :id

-- list_subscriptions --
-- Newest first.
SELECT doc FROM subscriptions WHERE tenant = :tenant AND id < :cursor
  {?kind}AND kind = :kind
  {?url}AND url = :url
ORDER BY id DESC LIMIT :limit

-- delete_subscription --
-- Its pending deliveries are canceled in the same transaction.
DELETE FROM subscriptions WHERE tenant = :tenant AND id = :id RETURNING id

-- receiver_states --
-- How many subscriptions are active, held, paused and disabled.
SELECT CASE WHEN enabled = 0 THEN 'disabled' WHEN paused = 1 THEN 'paused'
            WHEN deliverable = 0 THEN 'held' ELSE 'active' END AS state, COUNT(*) AS count
FROM subscriptions GROUP BY 1
