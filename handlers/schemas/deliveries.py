"""Deliveries, attempts and dead letters in responses."""

from collections.abc import Sequence

import msgspec

from service.domain.deliveries.delivery import Delivery, DeliveryStatus
from service.domain.deliveries.retry_policy import AttemptResult
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a receiver, with the answer.

    *status_code* is null if there was no answer; then *error* says why. *excerpt* is the start of
    the answer's body. *dns_ms*, *connect_ms* and *tls_ms* are null on a reused connection.
    """

    number: int
    at: str
    status_code: int | None
    duration_ms: float
    error: str | None
    excerpt: str
    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    headers: dict[str, str]


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one subscription.

    *tries* counts the attempts that used up a try of the retry schedule. *due_at* is when the next
    attempt is due; null when none is scheduled. *settled_at* is when the delivery left the status
    `pending`. Only the response for a single delivery contains *attempts*.
    """

    id: str
    object: str = "delivery"
    event: str
    type: str
    subscription: str
    job: str | None
    status: DeliveryStatus
    tries: int
    created_at: str
    due_at: str | None
    settled_at: str | None
    attempts: list[AttemptView] | msgspec.UnsetType = msgspec.UNSET


def render_delivery(
    delivery: Delivery,
    attempts: Sequence[tuple[int, AttemptResult]] | msgspec.UnsetType = msgspec.UNSET,
) -> DeliveryView:
    pending = delivery.status is DeliveryStatus.PENDING
    return DeliveryView(
        id=delivery.id,
        event=delivery.event_id,
        type=delivery.type,
        subscription=delivery.subscription_id,
        job=delivery.job_id,
        status=delivery.status,
        tries=delivery.tries,
        created_at=rfc3339(delivery.created_at),
        due_at=rfc3339_or_none(delivery.due_at) if pending else None,
        settled_at=rfc3339_or_none(delivery.settled_at),
        attempts=msgspec.UNSET
        if attempts is msgspec.UNSET
        else [render_attempt(number, result) for number, result in attempts],
    )


def render_attempt(number: int, result: AttemptResult) -> AttemptView:
    return AttemptView(
        number=number,
        at=rfc3339(result.at),
        status_code=result.status_code,
        duration_ms=result.duration_ms,
        error=result.error,
        excerpt=result.excerpt,
        dns_ms=result.dns_ms,
        connect_ms=result.connect_ms,
        tls_ms=result.tls_ms,
        first_byte_ms=result.first_byte_ms,
        headers=result.headers,
    )


class DeadLettersView(msgspec.Struct, frozen=True, kw_only=True):
    """The dead deliveries of one subscription.

    *reason* is the error of the newest one. To resend them, recover the subscription with
    `only: ["dead"]`.
    """

    object: str = "dead_letters"
    subscription: str
    count: int
    oldest: str
    newest: str
    reason: str
