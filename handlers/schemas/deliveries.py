"""Deliveries, attempts and dead letters in responses."""

from collections.abc import Sequence

import msgspec

from service.domain.deliveries.delivery import Delivery, DeliveryStatus
from service.domain.deliveries.retry_policy import AttemptResult
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One POST of a delivery and what came back."""

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
    """A delivery as users see it; *attempts* only when one is asked for."""

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


def delivery_view(
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
        else [attempt_view(number, outcome) for number, outcome in attempts],
    )


def attempt_view(number: int, outcome: AttemptResult) -> AttemptView:
    return AttemptView(
        number=number,
        at=rfc3339(outcome.at),
        status_code=outcome.status_code,
        duration_ms=outcome.duration_ms,
        error=outcome.error,
        excerpt=outcome.excerpt,
        dns_ms=outcome.dns_ms,
        connect_ms=outcome.connect_ms,
        tls_ms=outcome.tls_ms,
        first_byte_ms=outcome.first_byte_ms,
        headers=outcome.headers,
    )


class DeadLettersView(msgspec.Struct, frozen=True, kw_only=True):
    """What was given up for one subscription; `POST …/recover` with `only: ["dead"]` sends it."""

    object: str = "dead_letters"
    subscription: str
    count: int
    oldest: str
    newest: str
    reason: str
