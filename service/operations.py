"""The operation: something long that is asked for once, shown while it goes on, and cancelable."""

from typing import Final, Literal

import msgspec

from service.times import rfc3339, rfc3339_or_none

PAGE: Final = 200
"""Events that one step of a recovery looks at."""
What = Literal["dead", "failed", "missed"]
EVERYTHING: Final[tuple[What, ...]] = ("dead", "failed", "missed")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
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
    types: tuple[str, ...] = ("*",)
    only: tuple[What, ...] = EVERYTHING
    status: Literal["running", "done", "canceled"] = "running"
    cursor: int = 0
    looked_at: int = 0
    sent_again: int = 0
    finished_at: int | None = None


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """An operation as users see it: *looked_at* events so far, of which some are *sent_again*."""

    id: str
    object: str = "operation"
    kind: str = "recover"
    subscription: str
    status: str
    since: str
    until: str
    types: tuple[str, ...]
    only: tuple[str, ...]
    looked_at: int
    sent_again: int
    created_at: str
    finished_at: str | None


def view(operation: Operation) -> OperationView:
    return OperationView(
        id=operation.id,
        subscription=operation.subscription_id,
        status=operation.status,
        since=rfc3339(operation.since),
        until=rfc3339(operation.until),
        types=operation.types,
        only=operation.only,
        looked_at=operation.looked_at,
        sent_again=operation.sent_again,
        created_at=rfc3339(operation.created_at),
        finished_at=rfc3339_or_none(operation.finished_at),
    )
