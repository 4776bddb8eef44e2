"""What the service asks of the store."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from service.domain.callbacks import Callback
from service.domain.deliveries.circuit_breaker import ReceiverHealth
from service.domain.deliveries.delivery import (
    BacklogStats,
    DeadLetterSummary,
    Delivery,
    DeliveryTask,
)
from service.domain.deliveries.recovery import Recovery
from service.domain.deliveries.retry_policy import AttemptResult, DeliveryUpdate
from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.primitives.ids import IdFactory
from service.domain.security.api_keys import ApiKey
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, CheckLease, Decide
from service.transactions.slots import AccountQueue


class PausedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account that its provider refuses, since *paused_at*, in the provider's words."""

    account: str
    paused_for: str
    paused_at: int


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be stored, its *input* as JSON, and the subscription its reply URL needs.

    *task_uuid* is the client's own, in lower case: no two jobs of a tenant may have the same.
    """

    job: Job
    input: bytes
    reply_subscription: Subscription | None = None
    task_uuid: str | None = None


class Idempotency(msgspec.Struct, frozen=True, kw_only=True):
    """A client's `Idempotency-Key` and the digest of the body it came with."""

    name: str
    digest: str


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a courier asks for: up to *limit* parcels, until *lease_until*.

    It has parcels of the subscriptions *kept* in hand, and enough of those that are *full*; those
    in *turns* have a rate and may not be sent to before then.
    """

    at: int
    lease_until: int
    limit: int
    queued_for: Sequence[str] = ()
    full: Sequence[str] = ()
    next_sends: Mapping[str, int] = {}


class ClaimResult(msgspec.Struct, frozen=True):
    """Parcels under a lease; *more*: it is worth asking again at once."""

    tasks: Sequence[DeliveryTask]
    more: bool


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list: *limit* rows beyond *cursor*, newest first."""

    limit: int
    cursor: str | None = None


class ChangeTopic(StrEnum):
    """What another process may have changed, so that we look."""

    EVENTS = "events"
    DELIVERIES = "deliveries"
    JOBS = "jobs"
    SUBSCRIPTIONS = "subscriptions"


Heard = Callable[[frozenset[ChangeTopic]], None]


class Store(Protocol):
    """What the service remembers. Each method is one transaction; what it wrote is on disk.

    Every method raises Unavailable when the database cannot be reached or written, and NotFound
    for what is not there or belongs to another tenant.
    """

    async def check(self) -> None: ...
    async def broken(self) -> None: ...
    async def close(self) -> None: ...
    async def follow(self, heard: Heard) -> None:
        """Tell what other processes have committed, until cancelled; hints, some may be lost."""

    async def add_jobs(
        self, new: Sequence[NewJob], key: Idempotency | None, decide: Decide
    ) -> tuple[list[Job], ChangeSet | None]: ...
    async def change(
        self, refs: Sequence[str], decide: Decide, *, accounts: bool = False
    ) -> ChangeSet: ...
    async def claim_jobs(
        self, at: int, choose: Callable[[Sequence[AccountQueue]], Sequence[Job]]
    ) -> list[Job]: ...
    async def jobs_in_doubt(self, at: int, lease_until: int) -> list[Job]: ...
    async def claim_checks(self, at: int, lease_until: int, limit: int) -> list[CheckLease]: ...
    async def paused(self) -> list[PausedAccount]: ...
    async def next_job_due(self, at: int) -> int | None: ...
    async def next_check(self, at: int) -> int | None: ...
    async def ended_among(self, job_ids: Sequence[str]) -> list[str]: ...
    async def job(self, tenant: str, job_id: str) -> Job: ...
    async def jobs_by_id(self, tenant: str, job_ids: Sequence[str]) -> dict[str, Job]: ...
    async def jobs(self, tenant: str, wanted: Mapping[str, str], page: Page) -> list[Job]: ...
    async def inputs(self, job_ids: Sequence[str]) -> dict[str, bytes]: ...
    async def last_body(self, job_id: str) -> bytes | None: ...

    async def callback(self, tenant: str, callback_id: str) -> Callback: ...
    async def callbacks(
        self, tenant: str, wanted: Mapping[str, str], page: Page
    ) -> list[Callback]: ...

    async def event(self, tenant: str, event_id: str) -> Event: ...
    async def events(
        self, tenant: str, wanted: Mapping[str, object], page: Page
    ) -> list[Event]: ...
    async def events_after(
        self, tenant: str, seq: int, limit: int, job_id: str | None = None
    ) -> list[Event]: ...
    async def last_seq(self) -> int: ...
    async def tenants_after(self, seq: int) -> dict[str, int]: ...

    async def put_subscription(self, subscription: Subscription) -> None: ...
    async def change_subscription(
        self, tenant: str, subscription_id: str, change: Callable[[Subscription], Subscription]
    ) -> Subscription: ...
    async def delete_subscription(self, tenant: str, subscription_id: str, at: int) -> None: ...
    async def subscription(self, tenant: str, subscription_id: str) -> Subscription: ...
    async def subscriptions(
        self, tenant: str, wanted: Mapping[str, str], page: Page
    ) -> list[Subscription]: ...

    async def claim_deliveries(self, wanted: ClaimRequest) -> ClaimResult: ...
    async def settle(self, updates: Sequence[DeliveryUpdate], decide: Decide) -> ChangeSet: ...
    async def health(self, subscription_ids: Sequence[str]) -> dict[str, ReceiverHealth]: ...
    async def release(self, deliveries: Sequence[Delivery], at: int) -> None: ...
    async def next_delivery_due(self) -> int | None: ...
    async def delivery(
        self, tenant: str, delivery_id: str
    ) -> tuple[Delivery, list[tuple[int, AttemptResult]]]: ...
    async def deliveries(
        self, tenant: str, wanted: Mapping[str, str], page: Page
    ) -> list[Delivery]: ...
    async def dead_letters(self, tenant: str) -> list[DeadLetterSummary]: ...
    async def redeliver(self, tenant: str, delivery_id: str, at: int) -> Delivery: ...

    async def add_recovery(self, recovery: Recovery) -> Recovery: ...
    async def recovery(self, tenant: str, recovery_id: str) -> Recovery: ...
    async def recoveries(self, tenant: str, page: Page) -> list[Recovery]: ...
    async def cancel_recovery(self, tenant: str, recovery_id: str, at: int) -> Recovery: ...
    async def recover_step(self, at: int, lease_until: int, mint: IdFactory) -> Recovery | None: ...
    async def resend(
        self, tenant: str, event_id: str, to: Subscription, delivery: str, at: int
    ) -> Delivery: ...
    async def reply_subscription(self, reply: Subscription) -> Subscription: ...

    async def forget(self, before: int, limit: int, after: str) -> tuple[int, str]: ...
    async def owed(self) -> BacklogStats: ...

    async def put_key(self, key: ApiKey) -> None: ...
    async def key_by_hash(self, key_hash: str) -> ApiKey | None: ...
    async def keys(self, page: Page) -> list[ApiKey]: ...
    async def delete_key(self, key_id: str) -> None: ...
    async def key_exists(self, key_id: str) -> bool: ...
    async def has_keys(self) -> bool: ...
