-- What every event writes stands in fewer indexes, for each is a page to write for every receiver;
-- and what is asked for by its status, or because it is in doubt, has one.

DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE status = 'pending' AND due_at < {held};

DROP INDEX deliveries_in_order;
DROP INDEX deliveries_of_job;
CREATE INDEX deliveries_of_job ON deliveries (job_id, status, subscription_id, sequence)
    WHERE job_id IS NOT NULL;

DROP INDEX deliveries_of_subscription;
CREATE INDEX deliveries_over ON deliveries (subscription_id, id) WHERE status <> 'pending';

DROP INDEX deliveries_dead;
CREATE INDEX deliveries_by_status ON deliveries (tenant, status, id, subscription_id);

DROP INDEX jobs_unhappy;
CREATE INDEX jobs_by_status ON jobs (tenant, status, id);

DROP INDEX callbacks_in_doubt;
CREATE INDEX callbacks_in_doubt ON callbacks (tenant, id) WHERE doubt IS NOT NULL;
