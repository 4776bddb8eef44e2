-- Which process sends to a receiver; how long TLS took.

ALTER TABLE attempts ADD COLUMN tls_ms DOUBLE PRECISION;

CREATE TABLE lanes (
    subscription_id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL
);
