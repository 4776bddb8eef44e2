"""What a transaction reads (`Snapshot`) and what it writes (`Changes`)."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from service.domain.callbacks import Callback
from service.domain.deliveries.circuit_breaker import ReceiverHealth
from service.domain.deliveries.delivery import Delivery, DeliveryTask
from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.subscriptions.subscription import Subscription


class RawResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's answer to a submission, raw."""

    ref: str
    at: int
    status_code: int | None
    body: bytes


class AccountHold(msgspec.Struct, frozen=True, kw_only=True):
    """An account is left alone *until* then; unless *strict*, only until one of its jobs ends.

    *paused_for* says why its provider refuses it: then one job at a time is tried after that.
    """

    until: int
    strict: bool
    paused_for: str | None = None
    paused_at: int | None = None


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One try at handing a job to its provider."""

    ref: str
    job_id: str
    created_at: int


class CallbackResolution(msgspec.Struct, frozen=True, kw_only=True):
    """How the callbacks of a job that contradicted it were settled, in words."""

    job_id: str
    at: int
    settlement: str


class CheckLease(msgspec.Struct, frozen=True, kw_only=True):
    """A job whose provider is being asked about it; nobody else asks until then."""

    job: Job
    lease_until: int


class SupersedeRange(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription was owed of a job before *sequence* and has not been sent is outdated."""

    job_id: str
    subscription_id: str
    sequence: int
    at: int


class ChangeSet(msgspec.Struct, kw_only=True):
    """What one transaction writes; *jobs* by id, as they stand at its end.

    *superseding* ends what lies in the store, *superseded* what waits in this process under a
    lease. *repeated* is filled by the store: the ids of callbacks whose bytes were there already.
    """

    jobs: dict[str, Job] = {}
    callbacks: list[Callback] = []
    events: list[Event] = []
    delivery_tasks: list[DeliveryTask] = []
    responses: list[RawResponse] = []
    holds: dict[str, AccountHold] = {}
    resumed_accounts: set[str] = set()
    submissions: list[Submission] = []
    reassessed: list[Callback] = []
    resolutions: list[CallbackResolution] = []
    finished_checks: list[CheckLease] = []
    supersede_ranges: list[SupersedeRange] = []
    superseded: list[Delivery] = []
    health: dict[str, ReceiverHealth | None] = {}
    subscriptions: dict[str, Subscription] = {}
    repeated_callbacks: set[str] = set()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction has read: *jobs* by submission ref, locked until it ends.

    *standing* are the standing subscriptions by tenant, *replies* those of the jobs' own reply
    URLs by id. *owed* has, for each (job, subscription) pair that is still owed an event, the
    highest sequence of these.
    *paused* are the accounts that are refused, where these were asked for; *receivers* the
    subscriptions that were sent to, and *health* says which of them fail.
    """

    jobs: Mapping[str, Job]
    permanent: Mapping[str, Sequence[Subscription]]
    per_job: Mapping[str, Subscription] = {}
    pending: Mapping[tuple[str, str], int] = {}
    paused_accounts: frozenset[str] = frozenset()
    receivers: Mapping[str, Subscription] = {}
    health: Mapping[str, ReceiverHealth] = {}


Decide = Callable[[Snapshot], ChangeSet]
"""Turns what was read into what is written; it runs inside the transaction, so no I/O in it."""
