"""Deliveries: retries, circuit breaker, send queues, recoveries."""
