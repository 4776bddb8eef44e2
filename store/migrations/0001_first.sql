-- The first schema. Until the first release it is edited in place.
-- Times are microseconds since 1970 in UTC. `doc` is the whole value as JSON; the columns beside it
-- are copies that queries use. Leases are columns only, except
-- that of a submission: `due_at` of a job that is submitting.

-- queue: the account and the other properties of a job that decide when it may be submitted.
CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    account TEXT NOT NULL,
    queue TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('queued', 'submitting', 'submitted', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    reply_ref TEXT,
    provider_task_id TEXT,
    due_at BIGINT,
    next_check_at BIGINT,
    check_lease_until BIGINT,
    finished_at BIGINT,
    error_code TEXT,
    version BIGINT NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX jobs_of_tenant ON jobs (tenant, id);
CREATE INDEX jobs_by_status ON jobs (tenant, status, id);
CREATE INDEX jobs_by_reply_ref ON jobs (tenant, reply_ref) WHERE reply_ref IS NOT NULL;
CREATE INDEX jobs_by_task ON jobs (provider_task_id, tenant) WHERE provider_task_id IS NOT NULL;
CREATE INDEX jobs_queued ON jobs (queue, id) WHERE status = 'queued';
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_under_way ON jobs (account) WHERE status IN ('submitting', 'submitted', 'running');
CREATE INDEX jobs_to_check ON jobs (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (account, finished_at) WHERE finished_at IS NOT NULL;

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
CREATE INDEX job_tags_of_job ON job_tags (job_id);

-- The taskUUID that a client gave a job: unique within its tenant, never sent to the provider.
CREATE TABLE task_uuids (
    tenant TEXT NOT NULL,
    uuid TEXT NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (tenant, uuid)
);
CREATE INDEX task_uuids_of_job ON task_uuids (job_id);

CREATE TABLE submissions (
    ref TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    responded_at BIGINT,
    status_code INTEGER,
    response {blob}
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

CREATE TABLE accounts (
    account TEXT NOT NULL PRIMARY KEY,
    held_until BIGINT NOT NULL,
    slots INTEGER NOT NULL,
    max_jobs INTEGER
);

-- account is the name of the provider if the scope is 'credential'.
CREATE TABLE account_pauses (
    account TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('credential', 'account', 'credits')),
    tenant TEXT NOT NULL,
    reason TEXT NOT NULL,
    paused_at BIGINT NOT NULL,
    retry_at BIGINT NOT NULL,
    refusals BIGINT NOT NULL,
    PRIMARY KEY (account, scope)
);

-- warned: the last warning about moderated jobs counts until their share has been below half the
-- limit.
CREATE TABLE moderation_warnings (
    account TEXT NOT NULL PRIMARY KEY,
    warned INTEGER NOT NULL
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
    repeats BIGINT NOT NULL,
    reconcile_reason TEXT,
    settled_at BIGINT,
    settlement TEXT,
    headers TEXT NOT NULL
);
CREATE UNIQUE INDEX callbacks_once ON callbacks (job_id, digest);
CREATE INDEX callbacks_of_tenant ON callbacks (tenant, id);
CREATE INDEX callbacks_to_reconcile ON callbacks (tenant, id) WHERE reconcile_reason IS NOT NULL;

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
CREATE INDEX events_about_no_job ON events (id) WHERE job_id IS NULL;

-- backlog > 0: parked deliveries may exist. rate: sends per second, 0 without a limit.
CREATE TABLE subscriptions (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('permanent', 'per_job')),
    url TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    deliverable INTEGER NOT NULL,
    backlog BIGINT NOT NULL DEFAULT 0,
    rate INTEGER NOT NULL,
    next_send_at BIGINT NOT NULL DEFAULT 0,
    doc TEXT NOT NULL
);
CREATE INDEX subscriptions_of_tenant ON subscriptions (tenant, kind, id);
CREATE UNIQUE INDEX subscriptions_of_replies ON subscriptions (tenant, url) WHERE kind = 'per_job';
CREATE INDEX subscriptions_with_backlog ON subscriptions (id) WHERE backlog > 0 AND deliverable = 1;
CREATE INDEX subscriptions_with_rate ON subscriptions (id) WHERE rate > 0 AND deliverable = 1;

-- due_at is NULL for a parked delivery; under a lease it is the end of the lease.
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
    due_at BIGINT,
    tries INTEGER NOT NULL,
    lease_version BIGINT NOT NULL,
    leased INTEGER NOT NULL DEFAULT 0,
    settled_at BIGINT
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE status = 'pending' AND due_at IS NOT NULL;
CREATE INDEX deliveries_parked ON deliveries (subscription_id)
    WHERE status = 'pending' AND due_at IS NULL;
CREATE INDEX deliveries_pending ON deliveries (subscription_id, id) WHERE status = 'pending';
CREATE INDEX deliveries_finished ON deliveries (subscription_id, id) WHERE status <> 'pending';
CREATE INDEX deliveries_of_job ON deliveries (job_id, status, subscription_id, sequence)
    WHERE job_id IS NOT NULL;
CREATE INDEX deliveries_of_event ON deliveries (event_id);
CREATE INDEX deliveries_of_tenant ON deliveries (tenant, id);
CREATE INDEX deliveries_by_status ON deliveries (tenant, status, id, subscription_id);

CREATE TABLE attempts (
    delivery_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    status_code INTEGER,
    duration_ms DOUBLE PRECISION NOT NULL,
    error TEXT,
    excerpt TEXT NOT NULL,
    dns_ms DOUBLE PRECISION,
    connect_ms DOUBLE PRECISION,
    tls_ms DOUBLE PRECISION,
    first_byte_ms DOUBLE PRECISION,
    headers TEXT NOT NULL,
    PRIMARY KEY (delivery_id, number)
);

CREATE TABLE receiver_health (
    subscription_id TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    failing_since BIGINT NOT NULL,
    probes BIGINT NOT NULL,
    probe_at BIGINT,
    warned INTEGER NOT NULL,
    last_error TEXT NOT NULL,
    last_error_at BIGINT NOT NULL
);
CREATE INDEX receiver_health_to_probe ON receiver_health (probe_at) WHERE probe_at IS NOT NULL;

CREATE TABLE receiver_leases (
    subscription_id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL
);

CREATE TABLE recoveries (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'canceled')),
    due_at BIGINT NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX recoveries_of_tenant ON recoveries (tenant, id);
CREATE INDEX recoveries_due ON recoveries (due_at) WHERE status = 'running';

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (hash);

-- uuid: the last UUID in provider_asset_id, in lower case.
CREATE TABLE assets (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('uploading', 'ready', 'unknown')),
    provider_asset_id TEXT,
    uuid TEXT,
    size BIGINT,
    url TEXT
);
CREATE INDEX assets_of_tenant ON assets (tenant, provider, id);
CREATE INDEX assets_by_uuid ON assets (uuid);

-- 'subscriptions': processes read their cached subscriptions again when it has changed.
-- 'readiness': written to prove that the database can be written.
CREATE TABLE versions (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO versions (name, value) VALUES ('subscriptions', 1);
