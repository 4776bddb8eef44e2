-- Provider accounts that are busy or paused.

-- account_limits --
-- Busy accounts have no more than these slots until `held_until`; `max_jobs` is the limit that the
-- provider has told for an account.
SELECT account, max_jobs, CASE WHEN held_until > :at THEN slots END AS slots FROM accounts
WHERE held_until > :at OR max_jobs IS NOT NULL
ORDER BY account

-- hold_account --
-- The latest hold counts. Unless it is strict, the account keeps as many slots as are in use now,
-- so the next job is sent as soon as one is free.
INSERT INTO accounts (account, held_until, slots)
VALUES (:account, :until, CASE WHEN :strict = 1 THEN 0 ELSE (
    SELECT COUNT(*) FROM jobs
    WHERE account = :account AND status IN ('submitting', 'submitted', 'running')) END)
ON CONFLICT (account) DO UPDATE SET held_until = excluded.held_until, slots = excluded.slots

-- put_linked_account --
-- The provider has told how many jobs the account may run.
INSERT INTO accounts (account, held_until, slots, max_jobs) VALUES (:account, 0, 0, :max_jobs)
ON CONFLICT (account) DO UPDATE SET max_jobs = excluded.max_jobs

-- unlink_accounts --
-- Accounts that the provider no longer lists.
UPDATE accounts SET max_jobs = NULL
WHERE max_jobs IS NOT NULL AND SUBSTR(account, 1, LENGTH(:prefix)) = :prefix
  AND account {not_in:accounts}

-- delete_unlinked_pauses --
-- No job is sent to these accounts any more, so nothing would end their pauses.
DELETE FROM account_pauses
WHERE account IN (
    SELECT account FROM accounts
    WHERE max_jobs IS NOT NULL AND SUBSTR(account, 1, LENGTH(:prefix)) = :prefix
      AND account {not_in:accounts})

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

-- lock_moderation --
-- One process at a time counts moderated jobs, until the end of its transaction.
SELECT pg_advisory_xact_lock(7140005)

-- last_ended_jobs --
-- The jobs of an account that ended last, the newest first.
SELECT error_code FROM jobs
WHERE account = :account AND finished_at IS NOT NULL AND id {not_in:without}
ORDER BY finished_at DESC LIMIT :limit

-- moderation_warned --
-- Which of these accounts had a warning that still counts.
SELECT account FROM moderation_warnings WHERE account {in:accounts} AND warned = 1

-- put_moderation_warned --
-- Whether the last warning still counts.
INSERT INTO moderation_warnings (account, warned) VALUES (:account, :warned)
ON CONFLICT (account) DO UPDATE SET warned = excluded.warned

-- next_hold_end --
-- When a busy or paused account may be tried again.
SELECT MIN(ends.at) AS at FROM (
    SELECT held_until AS at FROM accounts
    UNION ALL SELECT retry_at FROM account_pauses) AS ends
WHERE ends.at > :at
