"""The Prometheus metrics of this process."""

from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry()
CALLBACKS: Final = Counter(
    "belfry_callbacks_total",
    "Requests at callback URLs, by provider and verdict.",
    ("provider", "verdict"),
    registry=REGISTRY,
)
EVENTS: Final = Counter(
    "belfry_events_total", "Events written to the log, by type.", ("type",), registry=REGISTRY
)
SUBMISSIONS: Final = Counter(
    "belfry_submissions_total",
    "Jobs sent to providers, by provider and the job's status after the response.",
    ("provider", "answer"),
    registry=REGISTRY,
)
ATTEMPTS: Final = Counter(
    "belfry_attempts_total",
    "Webhook requests, by the status of their delivery afterwards.",
    ("status",),
    registry=REGISTRY,
)
ATTEMPT_TIME: Final = Histogram(
    "belfry_attempt_seconds",
    "Duration of webhook requests in seconds.",
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 15),
    registry=REGISTRY,
)
LOOKUPS: Final = Counter(
    "belfry_provider_reads_total",
    "Requests for a job's status at providers, by reason; normally zero.",
    ("reason",),
    registry=REGISTRY,
)
MODERATED_JOBS: Final = Counter(
    "belfry_jobs_moderated_total",
    "Jobs that failed because of their content, by provider.",
    ("provider",),
    registry=REGISTRY,
)
STREAMS: Final = Gauge("belfry_streams", "Open event streams.", registry=REGISTRY)
OLDEST_PENDING: Final = Gauge(
    "belfry_oldest_pending_seconds",
    "Age of the oldest pending delivery in seconds; 0 when none is pending.",
    registry=REGISTRY,
)
SUBSCRIPTIONS: Final = Gauge(
    "belfry_subscriptions",
    "Subscriptions by state: active, held, paused or disabled.",
    ("state",),
    registry=REGISTRY,
)


@lru_cache(maxsize=256)
def _callback_counter(provider: str, verdict: str) -> Counter:
    return CALLBACKS.labels(provider, verdict)


def count_callback(provider: str, verdict: str) -> None:
    """Count a request at a callback URL; a cached counter saves the slow lookup of its labels."""
    _callback_counter(provider, verdict).inc()


def render_metrics() -> bytes:
    """Render all metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)
