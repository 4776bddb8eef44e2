-- Provider accounts that are busy or paused.

-- accounts_held --
-- Busy accounts: until `held_until`, they have no more than these slots.
SELECT account, slots FROM accounts WHERE held_until > :at

-- hold_account --
-- The latest hold counts. Unless it is strict, the account keeps as many slots as are in use now,
-- so the next job is sent as soon as one is free.
INSERT INTO accounts (account, held_until, slots)
VALUES (:account, :until, CASE WHEN :strict = 1 THEN 0 ELSE (
    SELECT COUNT(*) FROM jobs
    WHERE account = :account AND status IN ('submitting', 'submitted', 'running')) END)
ON CONFLICT (account) DO UPDATE SET held_until = excluded.held_until, slots = excluded.slots

-- account_pauses --
-- All of them: there are few.
SELECT account, scope, tenant, reason, paused_at, retry_at, refusals FROM account_pauses
ORDER BY account, scope

-- put_account_pause --
-- The provider refused an account, for the first time or again.
INSERT INTO account_pauses (account, scope, tenant, reason, paused_at, retry_at, refusals)
VALUES (:account, :scope, :tenant, :reason, :paused_at, :retry_at, :refusals)
ON CONFLICT (account, scope) DO UPDATE
SET reason = excluded.reason, retry_at = excluded.retry_at, refusals = excluded.refusals

-- delete_account_pause --
-- The provider accepts jobs of the account again.
DELETE FROM account_pauses WHERE account = :account AND scope = :scope

-- next_hold_end --
-- When a busy or paused account may be tried again.
SELECT MIN(ends.at) AS at FROM (
    SELECT held_until AS at FROM accounts
    UNION ALL SELECT retry_at FROM account_pauses) AS ends
WHERE ends.at > :at
