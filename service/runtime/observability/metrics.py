"""What is counted, for Prometheus."""

from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry()
CALLBACKS: Final = Counter(
    "belfry_callbacks_total",
    "Requests at callback URLs, by what they were judged to be.",
    ("provider", "verdict"),
    registry=REGISTRY,
)
EVENTS: Final = Counter(
    "belfry_events_total", "Events written to the log, by type.", ("type",), registry=REGISTRY
)
ANSWERS: Final = Counter(
    "belfry_submissions_total",
    "Requests that carried jobs to providers, by what came of them.",
    ("provider", "answer"),
    registry=REGISTRY,
)
ATTEMPTS: Final = Counter(
    "belfry_attempts_total",
    "POSTs to subscribers, by what their delivery became.",
    ("status",),
    registry=REGISTRY,
)
ATTEMPT_TIME: Final = Histogram(
    "belfry_attempt_seconds",
    "How long POSTs to subscribers took.",
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 15),
    registry=REGISTRY,
)
READS: Final = Counter(
    "belfry_provider_reads_total",
    "Status reads at providers, by the doubt they were to settle; none in normal running.",
    ("reason",),
    registry=REGISTRY,
)
STREAMS: Final = Gauge("belfry_streams", "Event streams that are open.", registry=REGISTRY)


@lru_cache(maxsize=256)
def _callbacks(provider: str, verdict: str) -> Counter:
    return CALLBACKS.labels(provider, verdict)


def count_callback(provider: str, verdict: str) -> None:
    """Count one request at a callback URL; looking the counter up again would cost more."""
    _callbacks(provider, verdict).inc()


OWED_AGE: Final = Gauge(
    "belfry_oldest_owed_seconds",
    "How long the delivery that is owed longest has been owed; 0 when nothing is.",
    registry=REGISTRY,
)
RECEIVERS: Final = Gauge(
    "belfry_subscriptions",
    "Subscriptions: active, held, paused or disabled.",
    ("state",),
    registry=REGISTRY,
)


def page() -> bytes:
    return generate_latest(REGISTRY)
