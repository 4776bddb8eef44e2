"""What a transaction reads (`Snapshot`) and what it writes (`ChangeSet`)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from service.domain.callbacks import Callback
from service.domain.deliveries.circuit_breaker import ReceiverHealth
from service.domain.deliveries.delivery import Delivery, DeliveryTask
from service.domain.events import DEFAULT_EVENT_TYPES, Event
from service.domain.jobs.job import Job
from service.domain.jobs.moderation import ModerationHistory
from service.domain.subscriptions.subscription import Subscription
from service.providers.refusals import RefusalScope
from service.transactions.slots import AccountPause


class RawResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's response to a submission, as received."""

    ref: str
    at: int
    status_code: int | None
    body: bytes


class AccountHold(msgspec.Struct, frozen=True, kw_only=True):
    """No job of the account is sent before *until*; unless *strict*, a freed slot ends the hold."""

    until: int
    strict: bool


PauseKey = tuple[str, RefusalScope]
"""Account (with the scope CREDENTIAL: provider) and scope; an account may have several pauses."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to submit a job; *ref* is its UUIDv4."""

    ref: str
    job_id: str
    created_at: int


class CallbackResolution(msgspec.Struct, frozen=True, kw_only=True):
    """What a lookup at the provider said about the callbacks that contradicted a job."""

    job_id: str
    at: int
    settlement: str


class CheckLease(msgspec.Struct, frozen=True, kw_only=True):
    """A job that one process checks until *lease_until*."""

    job: Job
    lease_until: int


class SupersedeRange(msgspec.Struct, frozen=True, kw_only=True):
    """Unsent progress of a job for a subscription, before *sequence*, is obsolete."""

    job_id: str
    subscription_id: str
    sequence: int
    at: int


class ChangeSet(msgspec.Struct, kw_only=True):
    """What one transaction writes.

    *jobs* by id, as they are at its end. A pause of an account is None if it has ended. *health*
    and *subscriptions* by subscription id; health None means that the receiver works.
    *supersede_ranges* are for deliveries in the store, *superseded* are deliveries queued in this
    process. *overflowed* are subscriptions whose queue in this process was full.
    *moderation_warned* by account, as in `ModerationHistory`.
    *repeated_callbacks* is filled by the store: ids of callbacks whose bytes were stored before.
    """

    jobs: dict[str, Job] = {}
    callbacks: list[Callback] = []
    events: list[Event] = []
    delivery_tasks: list[DeliveryTask] = []
    responses: list[RawResponse] = []
    holds: dict[str, AccountHold] = {}
    pauses: dict[PauseKey, AccountPause | None] = {}
    submissions: list[Submission] = []
    reassessed: list[Callback] = []
    resolutions: list[CallbackResolution] = []
    finished_checks: list[CheckLease] = []
    supersede_ranges: list[SupersedeRange] = []
    superseded: list[Delivery] = []
    overflowed: set[str] = set()
    health: dict[str, ReceiverHealth | None] = {}
    subscriptions: dict[str, Subscription] = {}
    moderation_warned: dict[str, bool] = {}
    repeated_callbacks: set[str] = set()

    @property
    def ended_jobs(self) -> list[Job]:
        """The jobs that this transaction ends, in the order of their ends."""
        ends = (event.job_id for event in self.events if event.type in DEFAULT_EVENT_TYPES)
        return [self.jobs[job_id] for job_id in dict.fromkeys(ends) if job_id in self.jobs]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction has read.

    *jobs* by submission ref, locked until it ends. *permanent* subscriptions by tenant, *per_job*
    subscriptions (reply URLs) by id. *pending*: for each (job, subscription) with a pending
    delivery, the highest sequence of these. *pauses* of accounts: all if they were asked
    for, or if one may concern a job that was read.
    *receivers* and *health*, by subscription id, only after attempts.
    """

    jobs: Mapping[str, Job]
    permanent: Mapping[str, Sequence[Subscription]]
    per_job: Mapping[str, Subscription] = {}
    pending: Mapping[tuple[str, str], int] = {}
    pauses: Mapping[PauseKey, AccountPause] = {}
    receivers: Mapping[str, Subscription] = {}
    health: Mapping[str, ReceiverHealth] = {}


class OpenTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction of the store: *changes* are written and committed when its block ends."""

    snapshot: Snapshot
    changes: ChangeSet


ReadModeration = Callable[[Sequence[str], Sequence[str]], Awaitable[dict[str, ModerationHistory]]]
"""Reads the moderation histories of accounts, without the jobs of the second list."""


class JobTransaction(OpenTransaction, frozen=True, kw_only=True):
    """A transaction that changes jobs; until its end, no other process reads the histories."""

    read_moderation: ReadModeration


class JobInsertion(OpenTransaction, frozen=True, kw_only=True):
    """A transaction that inserts *jobs*, or found that its idempotency key was used.

    *jobs* are the new jobs, or with *replayed* those that the key's first request created.
    """

    jobs: Sequence[Job]
    replayed: bool = False
