"""What follows from one attempt: delivered, retried later, or given up."""

from http import HTTPStatus
from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.deliveries.delivery import Delivery, DeliveryStatus
from service.domain.jobs.job import ENDS
from service.domain.primitives.timestamps import SECOND

SCHEDULE: Final = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds before each try: at once, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h; then dead.

It is the schedule that the Standard Webhooks specification recommends.
"""
JITTER: Final = 0.2
"""A pause varies by this share, so that retries of many deliveries spread."""
INTERMEDIATE_TRIES: Final = 2
"""Tries of an event that a later event of its job makes obsolete."""
RETRY_AFTER_CAP: Final = 86_400
"""Seconds of Retry-After that are respected at most."""
EXCERPT_BYTES: Final = 16 * 1024
"""Bytes of the receiver's answer that are kept."""
ATTEMPT_SECONDS: Final = 15
"""One deadline for name lookup, connect, TLS, headers and body."""


class AttemptResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one POST: a status code, or an *error* if there was no answer.

    *at* is its start in microseconds since 1970. *dns_ms*, *connect_ms* (TCP alone) and *tls_ms*
    are None on a connection that was already open.
    """

    at: int
    duration_ms: float
    status_code: int | None = None
    error: str | None = None
    excerpt: str = ""
    retry_after_seconds: int | None = None
    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    headers: dict[str, str] = {}

    @property
    def success(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004

    @property
    def ended_at(self) -> int:
        return self.at + int(self.duration_ms * 1000)

    @property
    def summary(self) -> str:
        return failure_summary(self.status_code, self.error)


def failure_summary(status_code: int | None, error: str | None) -> str:
    """Describe a failed attempt: its error, or the status that was answered."""
    return error or f"answered {status_code}"


class DeliveryUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery after an attempt; *disable* is why its subscription must be disabled."""

    delivery: Delivery
    result: AttemptResult
    disable: str | None = None
    probe: bool = False


def after_attempt(
    delivery: Delivery, result: AttemptResult, jitter: float, *, probe: bool = False
) -> DeliveryUpdate:
    """Decide what follows from one attempt.

    *jitter* from -1 to 1 changes the pause by up to 20 %. 429 and 503 with Retry-After are
    respected and use no try, unless they ask for no pause. 410 ends the delivery and disables the
    subscription. A *probe* that fails uses no try: the delivery is parked again.
    """
    if result.success:
        return _finished(delivery, DeliveryStatus.DELIVERED, result)
    if result.status_code == HTTPStatus.GONE:
        dead = _finished(delivery, DeliveryStatus.DEAD, result)
        return replace(dead, disable="The receiver answered 410 Gone.")
    if probe:
        parked = replace(delivery, due_at=None)
        return DeliveryUpdate(delivery=parked, result=result, probe=True)
    if (pause := pause_asked(result)) is not None:
        later = replace(delivery, due_at=result.ended_at + pause)
        return DeliveryUpdate(delivery=later, result=result)
    tries = delivery.tries + 1
    if tries >= allowed_tries(delivery.type):
        return _finished(delivery, DeliveryStatus.DEAD, result)
    pause = int(SCHEDULE[tries] * (1 + JITTER * jitter) * SECOND)
    retry = replace(delivery, tries=tries, due_at=result.ended_at + pause)
    return DeliveryUpdate(delivery=retry, result=result)


def _finished(delivery: Delivery, status: DeliveryStatus, result: AttemptResult) -> DeliveryUpdate:
    done = replace(delivery, status=status, tries=delivery.tries + 1, settled_at=result.ended_at)
    return DeliveryUpdate(delivery=done, result=result)


def pause_asked(result: AttemptResult) -> int | None:
    """The pause a busy receiver asks for by Retry-After, in microseconds; a day at most."""
    busy = result.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    if not busy or not result.retry_after_seconds:
        return None
    return min(result.retry_after_seconds, RETRY_AFTER_CAP) * SECOND


def allowed_tries(kind: str) -> int:
    """How many tries a delivery of event type *kind* gets."""
    return INTERMEDIATE_TRIES if is_intermediate(kind) else len(SCHEDULE)


def is_intermediate(kind: str) -> bool:
    """Whether a later event of the same job follows an event of type *kind*."""
    return kind.startswith("job.") and kind.removeprefix("job.") not in ENDS
