"""The delivery: one event to be sent to one subscription."""

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from typing import Final

import msgspec

from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription, is_subscribed, matches_type

HELD: Final = 2**62
"""Due when its receiver can take it: such a delivery is parked, and costs the others nothing."""
LEASE: Final = 45 * SECOND
"""How long a courier may hold a delivery unsettled; what it cannot begin in time it gives up."""


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    CANCELED = "canceled"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """*tries* is how many are used up; *claims* fences out a courier whose lease was taken over."""

    id: str
    tenant: str
    event_id: str
    subscription_id: str
    job_id: str | None
    sequence: int
    type: str
    status: DeliveryStatus
    created_at: int
    due_at: int
    tries: int = 0
    claims: int = 0
    settled_at: int | None = None


class DeliveryTask(msgspec.Struct, frozen=True):
    """All a courier needs to carry one delivery.

    *behind* is the sequence of the newest earlier event of the job that was still owed to the
    subscription when this one was committed; 0: none was. A *probe* tries whether a held receiver
    is back, and uses up no try; *not_before* keeps to the rate of the subscription. One that was
    *claimed* lay in the store, where later events of its job may lie too.
    """

    delivery: Delivery
    subscription: Subscription
    payload: bytes
    earlier_pending: int = 0
    probe: bool = False
    not_before: int = 0
    claimed: bool = False

    @property
    def is_queued(self) -> bool:
        """Whether nobody has it in hand though its receiver can take it now."""
        return self.subscription.deliverable and not self.delivery.claims


class Placement(Enum):
    """Who takes a delivery that is being committed."""

    LOCAL = "taken"
    """The courier of this process, under a lease from its birth."""
    QUEUED = "left"
    """Whoever claims it."""
    PARKED = "parked"
    """Nobody yet: its receiver has enough, or can take nothing."""


def recipients(
    event: Event, job: Job, standing: Iterable[Subscription], reply: Subscription | None
) -> list[Subscription]:
    """Find every subscription that *event* is owed to."""
    found = [subscription for subscription in standing if is_subscribed(subscription, event)]
    if reply is not None and reply.enabled and matches_type(job.reply_event_types, event.type):
        found.append(reply)
    return found


def new_delivery(event: Event, subscription: Subscription, delivery_id: str) -> Delivery:
    """Owe *event* to *subscription*, due at once."""
    return Delivery(
        id=delivery_id,
        tenant=event.tenant,
        event_id=event.id,
        subscription_id=subscription.id,
        job_id=event.job_id,
        sequence=event.sequence,
        type=event.type,
        status=DeliveryStatus.PENDING,
        created_at=event.at,
        due_at=event.at,
    )


class DeadLetterSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was given up for one subscription: the *oldest* and *newest* of it, and why."""

    subscription_id: str
    count: int
    oldest: str
    newest: str
    status_code: int | None
    error: str | None


class BacklogStats(msgspec.Struct, frozen=True):
    """When the *oldest* delivery that is owed was made, and how many *receivers* are in a state."""

    oldest: int | None
    receivers: Mapping[str, int]
