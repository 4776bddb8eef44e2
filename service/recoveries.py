"""The recovery: sending again what a subscription missed, durable and with progress."""

from typing import Final, Literal

import msgspec

from service.times import rfc3339, rfc3339_or_none

PAGE: Final = 200
"""Events that one step of a recovery looks at."""
RecoveryScope = Literal["dead", "failed", "missed"]
EVERYTHING: Final[tuple[RecoveryScope, ...]] = ("dead", "failed", "missed")


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Sends again what a subscription has not got of the events from *since* to *until*.

    *only*: `dead` was given up or canceled, `failed` waits for a retry, `missed` was never owed.
    *cursor* is the seq up to which the log was gone through.
    """

    id: str
    tenant: str
    subscription_id: str
    since: int
    until: int
    created_at: int
    event_types: tuple[str, ...] = ("*",)
    only: tuple[RecoveryScope, ...] = EVERYTHING
    status: Literal["running", "done", "canceled"] = "running"
    cursor: int = 0
    looked_at: int = 0
    sent_again: int = 0
    finished_at: int | None = None


class RecoveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery as users see it: *looked_at* events so far, of which some are *sent_again*."""

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


def view(recovery: Recovery) -> RecoveryView:
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
