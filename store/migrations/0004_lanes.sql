-- Which process sends to a receiver; who may be probed; how long TLS took.

ALTER TABLE subscriptions ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;

ALTER TABLE attempts ADD COLUMN tls_ms DOUBLE PRECISION;

CREATE TABLE lanes (
    subscription_id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL
);
