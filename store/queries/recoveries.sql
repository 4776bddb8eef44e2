-- Recoveries.

-- put_recovery --
-- Inserts or replaces.
INSERT INTO recoveries (id, tenant, status, due_at, doc)
VALUES (:id, :tenant, :status, :due_at, :doc)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, due_at = excluded.due_at, doc = excluded.doc

-- recovery --
-- One recovery of a tenant.
SELECT doc FROM recoveries WHERE tenant = :tenant AND id = :id

-- list_recoveries --
-- Newest first.
SELECT doc FROM recoveries WHERE tenant = :tenant AND id < :cursor
ORDER BY id DESC LIMIT :limit

-- claim_recovery --
-- One that is running; another process takes over when the lease ends.
WITH due AS MATERIALIZED (
    SELECT id FROM recoveries WHERE status = 'running' AND due_at <= :at ORDER BY due_at LIMIT 1
    {skip_locked})
UPDATE recoveries SET due_at = :lease_until WHERE id IN (SELECT id FROM due)
RETURNING doc
