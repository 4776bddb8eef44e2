"""The recovery: resends what a subscription missed, page by page through the event log."""

from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from service.domain.deliveries.delivery import Delivery, DeliveryStatus
from service.domain.events import Event
from service.domain.primitives.errors import Conflict
from service.domain.subscriptions.subscription import Subscription, accepts, matches_type

PAGE: Final = 200
"""Events that one step of a recovery looks at."""
RecoveryScope = Literal["dead", "failed", "missed"]
ALL_SCOPES: Final[tuple[RecoveryScope, ...]] = ("dead", "failed", "missed")


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Resends the events from *since* to *until* that a subscription has not received.

    *only*: `dead` deliveries were given up or canceled, `failed` ones wait for a retry, `missed`
    events never had a delivery. *cursor* is the `seq` up to which the log was processed.
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

    def covers(self, event: Event, subscription: Subscription) -> bool:
        """Whether *event* is in the recovery and for *subscription* as it is now."""
        return (
            event.at >= self.since
            and matches_type(self.event_types, event.type)
            and accepts(subscription, event)
        )

    def resends(self, delivery: Delivery) -> bool:
        """Whether a delivery that exists is made pending again."""
        if delivery.status is DeliveryStatus.PENDING:
            return "failed" in self.only and delivery.tries > 0 and delivery.due_at is not None
        given_up = delivery.status in (DeliveryStatus.DEAD, DeliveryStatus.CANCELED)
        return "dead" in self.only and given_up

    def resends_missed(self, subscription: Subscription) -> bool:
        """Whether events without a delivery get one; those of a reply URL belong to its jobs."""
        return "missed" in self.only and subscription.kind == "permanent"

    def done(self, at: int) -> "Recovery":
        return replace(self, status="done", finished_at=at)

    def canceled(self, at: int) -> "Recovery":
        """Stop it; Conflict if it is done."""
        if self.status == "done":
            raise Conflict("The recovery is done.")
        return replace(self, status="canceled", finished_at=at)
