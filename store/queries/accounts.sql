-- Provider accounts that are busy or paused.

-- accounts_held --
-- Busy accounts wait until `held_until` or for a free slot; paused accounts get one job at a time.
SELECT account, CASE WHEN held_until > :at THEN slots END AS slots, paused_for FROM accounts
WHERE held_until > :at OR paused_for IS NOT NULL

-- hold_account --
-- The latest hold counts. Unless it is strict, the account keeps as many slots as are in use now,
-- so the next job is sent as soon as one is free.
INSERT INTO accounts (account, held_until, slots, paused_for, paused_at)
VALUES (:account, :until, CASE WHEN :strict = 1 THEN 0 ELSE (
    SELECT COUNT(*) FROM jobs
    WHERE account = :account AND status IN ('submitting', 'submitted', 'running')) END,
    :paused_for, :paused_at)
ON CONFLICT (account) DO UPDATE SET held_until = excluded.held_until, slots = excluded.slots,
    paused_for = COALESCE(excluded.paused_for, accounts.paused_for),
    paused_at = COALESCE(accounts.paused_at, excluded.paused_at)

-- resume_account --
-- The account accepted a job: all slots are free again.
UPDATE accounts SET held_until = 0, paused_for = NULL, paused_at = NULL
WHERE account = :account

-- accounts_paused --
-- Paused accounts and the provider's reason.
SELECT account, paused_for, paused_at FROM accounts WHERE paused_for IS NOT NULL ORDER BY account

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
-- When a busy account may be tried again.
SELECT MIN(held_until) AS at FROM accounts WHERE held_until > :at
