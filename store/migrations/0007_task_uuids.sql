-- The taskUUID that a client gave a job is its own reference: unique for its tenant, and never sent.

CREATE TABLE task_uuids (
    tenant TEXT NOT NULL,
    uuid TEXT NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (tenant, uuid)
);
CREATE INDEX task_uuids_of_job ON task_uuids (job_id);
