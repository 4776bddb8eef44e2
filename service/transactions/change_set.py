"""What a transaction reads (`Snapshot`) and what it writes (`Changes`)."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from service.domain.callbacks import Callback
from service.domain.deliveries.circuit_breaker import Health
from service.domain.deliveries.delivery import Delivery, Parcel
from service.domain.events import Event
from service.domain.jobs.job import Job
from service.domain.subscriptions.subscription import Subscription


class RawAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's answer to a submission, raw."""

    ref: str
    at: int
    status_code: int | None
    body: bytes


class Hold(msgspec.Struct, frozen=True, kw_only=True):
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


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """How the callbacks of a job that contradicted it were settled, in words."""

    job_id: str
    at: int
    settlement: str


class CheckLease(msgspec.Struct, frozen=True, kw_only=True):
    """A job whose provider is being asked about it; nobody else asks until then."""

    job: Job
    lease_until: int


class Superseding(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription was owed of a job before *sequence* and has not been sent is outdated."""

    job_id: str
    subscription_id: str
    sequence: int
    at: int


class Changes(msgspec.Struct, kw_only=True):
    """What one transaction writes; *jobs* by id, as they stand at its end.

    *superseding* ends what lies in the store, *superseded* what waits in this process under a
    lease. *repeated* is filled by the store: the ids of callbacks whose bytes were there already.
    """

    jobs: dict[str, Job] = {}
    callbacks: list[Callback] = []
    events: list[Event] = []
    parcels: list[Parcel] = []
    answers: list[RawAnswer] = []
    holds: dict[str, Hold] = {}
    resumed: set[str] = set()
    submissions: list[Submission] = []
    rejudged: list[Callback] = []
    settled: list[Settled] = []
    checked: list[CheckLease] = []
    superseding: list[Superseding] = []
    superseded: list[Delivery] = []
    health: dict[str, Health | None] = {}
    subscriptions: dict[str, Subscription] = {}
    repeated: set[str] = set()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction has read: *jobs* by submission ref, locked until it ends.

    *standing* are the standing subscriptions by tenant, *replies* those of the jobs' own reply
    URLs by id. *owed* has, for each (job, subscription) pair that is still owed an event, the
    highest sequence of these.
    *paused* are the accounts that are refused, where these were asked for; *receivers* the
    subscriptions that were sent to, and *health* says which of them fail.
    """

    jobs: Mapping[str, Job]
    standing: Mapping[str, Sequence[Subscription]]
    replies: Mapping[str, Subscription] = {}
    owed: Mapping[tuple[str, str], int] = {}
    paused: frozenset[str] = frozenset()
    receivers: Mapping[str, Subscription] = {}
    health: Mapping[str, Health] = {}


Decide = Callable[[Snapshot], Changes]
"""Turns what was read into what is written; it runs inside the transaction, so no I/O in it."""
