-- Leases stand in columns of their own, which nothing else is written to: a delivery that is in
-- some process's hands, and a job whose provider is being asked about it.

ALTER TABLE deliveries ADD COLUMN leased INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET leased = 1 WHERE status = 'pending' AND claims > tries;
ALTER TABLE jobs ADD COLUMN check_leased_until BIGINT;
