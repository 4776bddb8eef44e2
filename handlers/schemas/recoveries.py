"""Recoveries in responses."""

import msgspec

from service.domain.deliveries.recovery import Recovery
from service.domain.primitives.timestamps import rfc3339, rfc3339_or_none


class RecoveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A run that resends past events to one subscription.

    *looked_at* counts the events checked so far, *sent_again* those that it scheduled again.
    """

    id: str
    object: str = "recovery"
    subscription: str
    status: str
    since: str
    until: str
    event_types: tuple[str, ...]
    only: tuple[str, ...]
    looked_at: int
    sent_again: int
    created_at: str
    finished_at: str | None


def render_recovery(recovery: Recovery) -> RecoveryView:
    return RecoveryView(
        id=recovery.id,
        subscription=recovery.subscription_id,
        status=recovery.status,
        since=rfc3339(recovery.since),
        until=rfc3339(recovery.until),
        event_types=recovery.event_types,
        only=recovery.only,
        looked_at=recovery.looked_at,
        sent_again=recovery.sent_again,
        created_at=rfc3339(recovery.created_at),
        finished_at=rfc3339_or_none(recovery.finished_at),
    )
