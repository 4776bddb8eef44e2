"""The delivery: one event to be sent to one subscription."""

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from typing import Final

import msgspec

from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription, is_subscribed, matches_type

LEASE: Final = 45 * SECOND
"""How long a dispatcher may hold a delivery; it does not start an attempt that could end later."""


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    CANCELED = "canceled"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one subscription; times in microseconds since 1970.

    *due_at* is when it may be sent, or under a lease the end of the lease. It is None while the
    delivery is parked, because its receiver cannot take it. *tries* are used up. *lease_version*
    grows with each lease; only the holder of the latest may write.
    """

    id: str
    tenant: str
    event_id: str
    subscription_id: str
    job_id: str | None
    sequence: int
    type: str
    status: DeliveryStatus
    created_at: int
    due_at: int | None
    tries: int = 0
    lease_version: int = 0
    settled_at: int | None = None


class DeliveryTask(msgspec.Struct, frozen=True):
    """Everything a dispatcher needs to send one delivery.

    *earlier_pending* is the sequence of the newest earlier event of the job that was pending for
    the subscription when this delivery was committed; 0 if none was. A *probe* tries whether a held
    receiver works again and uses no try. It may not be sent before *not_before* (rate limit). A
    *claimed* task was read from the store, where later events of its job may be pending too.
    """

    delivery: Delivery
    subscription: Subscription
    payload: bytes
    earlier_pending: int = 0
    probe: bool = False
    not_before: int = 0
    claimed: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the process that committed it sends it: it is leased from the start."""
        return self.delivery.lease_version > 0

    @property
    def needs_claim(self) -> bool:
        """Whether a claim would find it: it is due, or has to wait for its rate limit alone."""
        waits_for_rate = self.subscription.rate_limit is not None
        waits = self.delivery.due_at is None and not waits_for_rate
        return self.subscription.deliverable and not self.is_local and not waits


class Placement(Enum):
    """Who sends a delivery that is being committed."""

    LOCAL = "local"
    """The dispatcher of this process, under a lease from the start."""
    QUEUED = "queued"
    """The process that claims it."""
    PARKED = "parked"
    """Nobody for now: the receiver is off, held or rate-limited."""
    OVERFLOW = "overflow"
    """Nobody for now: the receiver's queue in this process is full."""


class DeadLetterSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The dead deliveries of one subscription: ids of the *oldest* and *newest*, and its result."""

    subscription_id: str
    count: int
    oldest: str
    newest: str
    status_code: int | None
    error: str | None


class BacklogStats(msgspec.Struct, frozen=True):
    """When the *oldest* pending delivery was created, and the number of *receivers* per state."""

    oldest: int | None
    receivers: Mapping[str, int]


def recipients(
    event: Event, job: Job, permanent: Iterable[Subscription], per_job: Subscription | None
) -> list[Subscription]:
    """Every subscription that gets *event*; *per_job* is the one of the job's reply URL."""
    found = [subscription for subscription in permanent if is_subscribed(subscription, event)]
    if per_job is not None and per_job.enabled and matches_type(job.reply_event_types, event.type):
        found.append(per_job)
    return found


def new_delivery(event: Event, subscription: Subscription, delivery_id: str) -> Delivery:
    """Create the delivery of *event* to *subscription*, due at once."""
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
