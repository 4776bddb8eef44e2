"""The recovery: resends what a subscription missed, step by step."""

from typing import Final, Literal

import msgspec

PAGE: Final = 200
"""Events that one step of a recovery looks at."""
RecoveryScope = Literal["dead", "failed", "missed"]
ALL_SCOPES: Final[tuple[RecoveryScope, ...]] = ("dead", "failed", "missed")


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
    only: tuple[RecoveryScope, ...] = ALL_SCOPES
    status: Literal["running", "done", "canceled"] = "running"
    cursor: int = 0
    looked_at: int = 0
    sent_again: int = 0
    finished_at: int | None = None
