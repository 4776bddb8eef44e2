-- The first schema. Times are microseconds since 1970 in UTC; `doc` is the whole job as JSON, and
-- the columns beside it are what queries ask for.

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    account TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('queued', 'submitting', 'submitted', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    reply_ref TEXT,
    provider_task_id TEXT,
    due_at BIGINT,
    deadline_at BIGINT,
    version BIGINT NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX jobs_of_tenant ON jobs (tenant, id);
CREATE INDEX jobs_by_reply_ref ON jobs (tenant, reply_ref) WHERE reply_ref IS NOT NULL;
CREATE INDEX jobs_by_task ON jobs (tenant, provider_task_id) WHERE provider_task_id IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (status, account, id) WHERE status IN ('queued', 'submitting');
CREATE INDEX jobs_under_way ON jobs (account, deadline_at)
    WHERE status IN ('submitting', 'submitted', 'running');
CREATE INDEX jobs_unhappy ON jobs (tenant, status, id)
    WHERE status IN ('failed', 'canceled', 'expired');

CREATE TABLE job_inputs (
    job_id TEXT NOT NULL PRIMARY KEY,
    input TEXT NOT NULL
);

CREATE TABLE job_tags (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (tenant, tag, job_id)
);

CREATE TABLE submissions (
    ref TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    answered_at BIGINT,
    status_code INTEGER,
    answer {blob}
);
CREATE INDEX submissions_of_job ON submissions (job_id);

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    job_ids TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE callbacks (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    job_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    ref TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'late', 'mismatched', 'unreadable')),
    digest TEXT NOT NULL,
    body {blob} NOT NULL,
    received_at BIGINT NOT NULL,
    repeats BIGINT NOT NULL
);
CREATE UNIQUE INDEX callbacks_once ON callbacks (job_id, digest);
CREATE INDEX callbacks_of_tenant ON callbacks (tenant, id);

CREATE TABLE events (
    seq {auto_key},
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    at BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    job_id TEXT,
    provider TEXT,
    operation TEXT,
    tags TEXT NOT NULL,
    payload {blob} NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (id);
CREATE INDEX events_of_tenant ON events (tenant, seq);
CREATE INDEX events_of_job ON events (job_id, seq) WHERE job_id IS NOT NULL;

CREATE TABLE subscriptions (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('permanent', 'per_job')),
    url TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX subscriptions_of_tenant ON subscriptions (tenant, kind, id);
CREATE UNIQUE INDEX subscriptions_of_replies ON subscriptions (tenant, url) WHERE kind = 'per_job';

CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    event_id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    job_id TEXT,
    sequence BIGINT NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('pending', 'delivered', 'superseded', 'dead', 'canceled')),
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    tries INTEGER NOT NULL,
    claims BIGINT NOT NULL,
    settled_at BIGINT
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE status = 'pending';
CREATE INDEX deliveries_in_order ON deliveries (job_id, subscription_id, sequence)
    WHERE status = 'pending';
CREATE INDEX deliveries_of_tenant ON deliveries (tenant, id);
CREATE INDEX deliveries_of_subscription ON deliveries (subscription_id, id);
CREATE INDEX deliveries_of_event ON deliveries (event_id);

CREATE TABLE attempts (
    delivery_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    status_code INTEGER,
    duration_ms DOUBLE PRECISION NOT NULL,
    error TEXT,
    excerpt TEXT NOT NULL,
    PRIMARY KEY (delivery_id, number)
);

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX keys_by_hash ON keys (hash);

CREATE TABLE accounts (
    account TEXT NOT NULL PRIMARY KEY,
    held_until BIGINT NOT NULL,
    slots INTEGER NOT NULL
);

-- One row: raised whenever a standing subscription changes, so that caches know when to read again.
CREATE TABLE revisions (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO revisions (name, value) VALUES ('subscriptions', 1);
