"""What the service asks of the store, one protocol per noun.

Every method is one transaction; what it wrote is on disk when it returns. It raises Unavailable if
the database cannot be reached or written, and NotFound for what does not exist or belongs to
another tenant. Times are microseconds since 1970 in UTC.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
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
from service.transactions.change_set import (
    CheckLease,
    JobInsertion,
    JobTransaction,
    OpenTransaction,
)
from service.transactions.slots import AccountPause, Admission, SlotRules
from service.transactions.store_protocols.assets import AssetStore

Filters = Mapping[str, object]
"""The filters of a list by name; what they mean is in the query."""


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to insert, its *input* as JSON, and the subscription of its reply URL.

    *task_uuid* is the client's own, in lower case, and unique within the tenant.
    """

    job: Job
    input: bytes
    reply_subscription: Subscription | None = None
    task_uuid: str | None = None


class Idempotency(msgspec.Struct, frozen=True, kw_only=True):
    """A client's `Idempotency-Key` and the SHA-256 of its request's body."""

    name: str
    digest: str


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A dispatcher's request for tasks, leased until *lease_until*.

    *limit* is for the due ones, and for the parked ones of each subscription.

    *queued_for* are the subscriptions it has tasks for, *full* those whose queue is full.
    *next_sends*: rate-limited subscriptions that must not be sent to before that time.
    """

    at: int
    lease_until: int
    limit: int
    queued_for: Sequence[str] = ()
    full: Sequence[str] = ()
    next_sends: Mapping[str, int] = {}


class ClaimResult(msgspec.Struct, frozen=True):
    """Leased tasks; *more*: another claim would find more at once."""

    tasks: Sequence[DeliveryTask]
    more: bool


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Up to *limit* rows before *cursor* (the id of the last row seen), newest first."""

    limit: int
    cursor: str | None = None


class ChangeTopic(StrEnum):
    """What another process may have changed."""

    EVENTS = "events"
    DELIVERIES = "deliveries"
    JOBS = "jobs"
    SUBSCRIPTIONS = "subscriptions"


class JobStore(Protocol):
    async def claim(self, at: int, rules: SlotRules, start: Callable[[Job], Job]) -> Admission:
        """Take the oldest jobs for which there are slots, and write them as *start* returns them.

        One process at a time counts slots.
        """

    async def put_linked_accounts(self, provider: str, limits: Mapping[str, int]) -> None:
        """Store which accounts are linked at *provider*: how many jobs each may run, by suffix.

        Pauses of accounts that are no longer linked end.
        """

    async def claim_unanswered(self, at: int, lease_until: int) -> list[Job]:
        """Lease the jobs whose sender stopped before the answer came."""

    async def claim_checks(self, at: int, lease_until: int, limit: int) -> list[CheckLease]:
        """Lease jobs that are due for a check; they are due again when the lease ends."""

    async def next_due(self, at: int) -> int | None: ...
    async def next_check(self, at: int) -> int | None: ...
    async def account_pauses(self) -> list[AccountPause]: ...
    async def ended(self, job_ids: Sequence[str]) -> list[str]:
        """Which of *job_ids* have ended."""

    async def get(self, tenant: str, job_id: str) -> Job: ...
    async def get_many(self, tenant: str, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of *job_ids* that exist, by id."""

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Job]: ...
    async def refs_of_tasks(self, provider: str, task_ids: Sequence[str]) -> list[str]:
        """The submissions of any tenant whose tasks have these ids at the provider."""

    async def unanswered_refs(self, provider: str) -> list[str]:
        """The submissions that wait for the provider's response."""

    async def inputs(self, job_ids: Sequence[str]) -> dict[str, bytes]: ...
    async def last_body(self, job_id: str) -> bytes | None:
        """The provider's latest callback about a job, or else its latest response."""


class CallbackStore(Protocol):
    async def get(self, tenant: str, callback_id: str) -> Callback: ...
    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Callback]:
        """Callbacks without their bodies."""


class EventStore(Protocol):
    async def get(self, tenant: str, event_id: str) -> Event: ...
    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Event]:
        """Newest first; the cursor is a `seq`."""

    async def after(
        self, tenant: str, seq: int, limit: int, job_id: str | None = None
    ) -> list[Event]:
        """The next page of the log, oldest first: up to *limit* events or `PAGE_BYTES`."""

    async def last_seq(self) -> int: ...
    async def tenants_after(self, seq: int) -> dict[str, int]:
        """Tenants with events after *seq*, and the last `seq` of each."""


class SubscriptionStore(Protocol):
    async def put(self, subscription: Subscription) -> None: ...
    async def change(
        self, tenant: str, subscription_id: str, change: Callable[[Subscription], Subscription]
    ) -> Subscription: ...
    async def delete(self, tenant: str, subscription_id: str, at: int) -> None:
        """Delete a subscription and cancel its pending deliveries."""

    async def get(self, tenant: str, subscription_id: str) -> Subscription: ...
    async def get_many(
        self, tenant: str, subscription_ids: Sequence[str]
    ) -> dict[str, Subscription]:
        """Those of *subscription_ids* that exist, by id."""

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Subscription]: ...
    async def get_or_add_reply(self, reply: Subscription) -> Subscription:
        """The subscription of the tenant's reply URL, inserted if it is new."""

    async def health(self, subscription_ids: Sequence[str]) -> dict[str, ReceiverHealth]:
        """The health of failing receivers, by subscription id."""


class DeliveryStore(Protocol):
    async def claim(self, request: ClaimRequest) -> ClaimResult:
        """Lease due deliveries, in order per job, for receivers no other process sends to."""

    async def release(self, deliveries: Sequence[Delivery], at: int) -> None:
        """Return leased deliveries unsent."""

    async def next_due(self) -> int | None: ...
    async def get(
        self, tenant: str, delivery_id: str
    ) -> tuple[Delivery, list[tuple[int, AttemptResult]]]:
        """A delivery and its attempts, numbered."""

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Delivery]: ...
    async def dead_letters(self, tenant: str) -> list[DeadLetterSummary]: ...
    async def redeliver(self, tenant: str, delivery_id: str, at: int) -> Delivery:
        """Make a delivery pending again with all tries; Conflict if its subscription is not on."""

    async def resend(
        self, tenant: str, event_id: str, to: Subscription, delivery_id: str, at: int
    ) -> Delivery:
        """Deliver one event to one subscription, again or for the first time as *delivery_id*."""

    async def backlog(self) -> BacklogStats: ...


class RecoveryStore(Protocol):
    async def add(self, recovery: Recovery) -> Recovery: ...
    async def get(self, tenant: str, recovery_id: str) -> Recovery: ...
    async def find(self, tenant: str, page: Page) -> list[Recovery]: ...
    async def cancel(self, tenant: str, recovery_id: str, at: int) -> Recovery: ...
    async def step(self, at: int, lease_until: int, new_id: IdFactory) -> Recovery | None:
        """Process one page of a running recovery; None if none is running."""


class RetentionStore(Protocol):
    async def prune(self, before: int, limit: int, after: str) -> tuple[int, str]:
        """Look at *limit* jobs created before that time, and delete the prunable ones.

        Returns how many were deleted, and the id *after* which to continue; empty at the end.
        """


class ApiKeyStore(Protocol):
    async def put(self, key: ApiKey) -> None:
        """Insert *key* unless it exists."""

    async def by_hash(self, key_hash: str) -> ApiKey | None: ...
    async def exists(self, key_id: str) -> bool: ...
    async def find(self, page: Page) -> list[ApiKey]: ...
    async def delete(self, key_id: str) -> None: ...
    async def is_empty(self) -> bool: ...


class Store(Protocol):
    """The whole store."""

    @property
    def jobs(self) -> JobStore: ...
    @property
    def callbacks(self) -> CallbackStore: ...
    @property
    def events(self) -> EventStore: ...
    @property
    def subscriptions(self) -> SubscriptionStore: ...
    @property
    def deliveries(self) -> DeliveryStore: ...
    @property
    def recoveries(self) -> RecoveryStore: ...
    @property
    def retention(self) -> RetentionStore: ...
    @property
    def api_keys(self) -> ApiKeyStore: ...
    @property
    def assets(self) -> AssetStore: ...

    def transaction(
        self, refs: Sequence[str], *, accounts: bool = False
    ) -> AbstractAsyncContextManager[JobTransaction]:
        """Read and lock the jobs of *refs*.

        The pauses of accounts are locked and read with *accounts*, or if one may concern a job.
        """

    def insert_jobs(
        self, new: Sequence[NewJob], key: Idempotency | None
    ) -> AbstractAsyncContextManager[JobInsertion]:
        """Insert *new* as they are at the end of the block.

        Invalid if *key* was used with another body, or a taskUUID by another job of the tenant.
        """

    def record_attempts(
        self, updates: Sequence[DeliveryUpdate]
    ) -> AbstractAsyncContextManager[OpenTransaction]:
        """Write what became of attempts; an update whose lease was taken over changes nothing.

        The snapshot has the receivers if one of them failed now or before.
        """

    async def check(self) -> None:
        """Prove that the database can be written."""

    async def broken(self) -> None:
        """Return when the database can no longer be trusted and the process must end."""

    async def follow(self, on_change: Callable[[frozenset[ChangeTopic]], None]) -> None:
        """Report what other processes commit, until cancelled. Reports may be lost."""

    async def close(self) -> None: ...
