"""What follows from one attempt: delivered, retried later, or given up."""

from http import HTTPStatus
from typing import Final

import msgspec

from service.domain.deliveries.delivery import HELD, Delivery, DeliveryStatus
from service.domain.jobs.job import ENDS
from service.domain.primitives.timestamps import SECOND

SCHEDULE: Final = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds before each try: at once, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h; then dead."""
JITTER: Final = 0.2
INTERMEDIATE_TRIES: Final = 2
RETRY_AFTER_CAP: Final = 86_400
EXCERPT_BYTES: Final = 16 * 1024
_OK, _REDIRECT = 200, 300
ATTEMPT_SECONDS: Final = 15
"""One deadline over name look-up, connect, headers and body."""


class AttemptResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one POST: a status code, or an *error* in words when there was none.

    *connect_ms* is TCP alone; it, *dns_ms* and *tls_ms* are None on a connection that was open
    already.
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
        return self.status_code is not None and _OK <= self.status_code < _REDIRECT

    @property
    def summary(self) -> str:
        return failure_summary(self.status_code, self.error)


def failure_summary(status_code: int | None, error: str | None) -> str:
    """Say what came of an attempt that failed."""
    return error or f"answered {status_code}"


class DeliveryUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery becomes after an attempt; *disable* says why its subscription must end."""

    delivery: Delivery
    result: AttemptResult
    disable: str | None = None
    probe: bool = False


def after_attempt(
    delivery: Delivery, result: AttemptResult, jitter: float, *, probe: bool = False
) -> DeliveryUpdate:
    """Judge one attempt; *jitter* from -1 to 1 stretches or shortens the pause by up to 20 %.

    429 and 503 with Retry-After are obeyed, up to a day, and use up no try, unless they ask for
    no pause at all; 410 ends it all. A *probe* that fails uses up no try either.
    """
    now = result.at + int(result.duration_ms * 1000)
    if result.success:
        return _finished(delivery, DeliveryStatus.DELIVERED, result, now)
    if result.status_code == HTTPStatus.GONE:
        dead = _finished(delivery, DeliveryStatus.DEAD, result, now)
        return msgspec.structs.replace(dead, disable="The receiver answered 410 Gone.")
    if probe:
        parked = _retry(delivery, result, delivery.tries, HELD)
        return msgspec.structs.replace(parked, probe=True)
    if (asked := pause_asked(result)) is not None:
        return _retry(delivery, result, delivery.tries, now + asked)
    tries = delivery.tries + 1
    if tries >= allowed_tries(delivery.type):
        return _finished(delivery, DeliveryStatus.DEAD, result, now)
    pause = int(SCHEDULE[tries] * (1 + JITTER * jitter) * SECOND)
    return _retry(delivery, result, tries, now + pause)


def pause_asked(result: AttemptResult) -> int | None:
    """How long its receiver asks to be left alone, in microseconds: a day at most."""
    busy = result.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    if not busy or not result.retry_after_seconds:
        return None
    return min(result.retry_after_seconds, RETRY_AFTER_CAP) * SECOND


def allowed_tries(kind: str) -> int:
    """An intermediate event is tried once more at most: the next one tells more."""
    return INTERMEDIATE_TRIES if is_intermediate(kind) else len(SCHEDULE)


def is_intermediate(kind: str) -> bool:
    """Whether a later event of the same job follows one of type *kind*."""
    return kind.startswith("job.") and kind.removeprefix("job.") not in ENDS


def _finished(
    delivery: Delivery, status: DeliveryStatus, result: AttemptResult, now: int
) -> DeliveryUpdate:
    done = msgspec.structs.replace(
        delivery, status=status, tries=delivery.tries + 1, settled_at=now
    )
    return DeliveryUpdate(delivery=done, result=result)


def _retry(delivery: Delivery, result: AttemptResult, tries: int, due_at: int) -> DeliveryUpdate:
    later = msgspec.structs.replace(delivery, tries=tries, due_at=due_at)
    return DeliveryUpdate(delivery=later, result=result)
