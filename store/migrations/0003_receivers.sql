-- Receivers: their health, what is parked for them, at which rate they take it; recoveries.

ALTER TABLE subscriptions ADD COLUMN is_open INTEGER NOT NULL DEFAULT 1;
ALTER TABLE subscriptions ADD COLUMN backlog BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN rate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN rated_at BIGINT NOT NULL DEFAULT 0;
UPDATE subscriptions SET is_open = enabled, backlog = 1;
CREATE INDEX subscriptions_with_backlog ON subscriptions (id) WHERE backlog > 0 AND is_open = 1;
CREATE INDEX subscriptions_with_rate ON subscriptions (id) WHERE rate > 0 AND is_open = 1;

CREATE INDEX deliveries_owed ON deliveries (subscription_id, id) WHERE status = 'pending';

ALTER TABLE attempts ADD COLUMN dns_ms DOUBLE PRECISION;
ALTER TABLE attempts ADD COLUMN connect_ms DOUBLE PRECISION;
ALTER TABLE attempts ADD COLUMN first_byte_ms DOUBLE PRECISION;
ALTER TABLE attempts ADD COLUMN headers TEXT;

CREATE TABLE health (
    subscription_id TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    failing_since BIGINT NOT NULL,
    probes BIGINT NOT NULL,
    probe_at BIGINT,
    warned INTEGER NOT NULL,
    last_error TEXT NOT NULL,
    last_error_at BIGINT NOT NULL
);
CREATE INDEX health_to_probe ON health (probe_at) WHERE probe_at IS NOT NULL;

CREATE TABLE recoveries (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'canceled')),
    due_at BIGINT NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX recoveries_of_tenant ON recoveries (tenant, id);
CREATE INDEX recoveries_due ON recoveries (due_at) WHERE status = 'running';

CREATE INDEX deliveries_of_job ON deliveries (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX job_tags_of_job ON job_tags (job_id);
CREATE INDEX events_about_no_job ON events (id) WHERE job_id IS NULL;
CREATE INDEX deliveries_dead ON deliveries (tenant, subscription_id, id) WHERE status = 'dead';
