"""Chooses the jobs that may be submitted now: slots per provider account, oldest job first."""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import ErrorStage
from service.providers.refusals import RefusalScope


class JobQueue(msgspec.Struct, frozen=True, array_like=True):
    """The queued jobs of one *account* that the same limits apply to.

    *max_jobs* is their own limit: each waits until fewer jobs than that are under way at the
    account. The store keeps the queue of a job as JSON, and claims the oldest jobs of each queue.
    """

    account: str
    any_account: bool = False
    uses_credits: bool = True
    max_jobs: int | None = None

    @property
    def provider(self) -> str:
        return self.account.partition(":")[0]


def queue_of(job: Job) -> JobQueue:
    return JobQueue(job.account, job.any_account, job.uses_credits, job.max_jobs)


class AccountPause(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal of *account*, or with the scope CREDENTIAL of the provider of that name.

    Jobs that it concerns wait until *retry_at*; then one at a time is sent, to find out whether
    it is over. *refusals* counts those in a row. *tenant* is the one whose job was refused first.
    """

    account: str
    scope: RefusalScope
    tenant: str
    reason: str
    paused_at: int
    retry_at: int
    refusals: int = 1

    def concerns(self, job: Job | JobQueue) -> bool:
        if self.scope is RefusalScope.CREDENTIAL:
            return self.account == job.provider
        if self.scope is RefusalScope.CREDITS and not job.uses_credits:
            return False
        return self.account == job.account

    def is_ended_by(self, job: Job) -> bool:
        """Whether *job* proves that the refusal is over: it was sent later and accepted."""
        if job.admitted_at is None or job.admitted_at <= self.paused_at or not _was_accepted(job):
            return False
        # The pause may have begun before the accounts of the provider were known.
        return self.concerns(job) or self.concerns(replace(job, account=job.own_account))


def _was_accepted(job: Job) -> bool:
    if job.status is Status.FAILED:
        return job.error is not None and job.error.stage is ErrorStage.PROVIDER
    return job.status in (Status.SUBMITTED, Status.RUNNING, Status.SUCCEEDED)


class AccountUse(msgspec.Struct, frozen=True, kw_only=True):
    """How the accounts are used when a claim begins.

    *used* counts the jobs under way by account, *sending* by queue those whose response is awaited.
    *held*: the slots that a busy provider leaves an account. *linked*: how many jobs each account
    may run, where the provider has told.
    """

    used: Counter[str] = msgspec.field(default_factory=Counter)
    sending: Counter[JobQueue] = msgspec.field(default_factory=Counter)
    held: Mapping[str, int] = {}
    linked: Mapping[str, int] = {}
    pauses: Sequence[AccountPause] = ()


class SlotRules(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs an account may run, by provider: *limits*.

    For an account whose own limit is known, that counts instead, or the lower of the two for the
    providers in *capped*. *choose* picks one of the accounts that may run a job.
    """

    limits: Mapping[str, int]
    capped: frozenset[str] = frozenset()
    choose: Callable[[Sequence[JobQueue]], JobQueue] = operator.itemgetter(0)


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The *jobs* to submit now, and whether jobs were *waiting*."""

    jobs: list[Job]
    waiting: bool


class Slots:
    """The free slots of all accounts during the claim at *at*.

    A provider without a limit no longer exists; it gets one job at a time.
    """

    def __init__(self, rules: SlotRules, use: AccountUse, at: int) -> None:
        self._rules, self._use, self._at = rules, use, at
        self._used, self._sending = use.used.copy(), use.sending.copy()

    def free(self, queue: JobQueue) -> int:
        """How many jobs of *queue* may be submitted now, if no others are."""
        return sum(map(self._free, self._lanes(queue)))

    def admit(self, jobs: Iterable[Job]) -> list[Job]:
        """Choose among *jobs*, the oldest first; a job that must wait delays no other.

        A job that any account may run gets one of those that have a free slot.
        """
        chosen = []
        for job in jobs:
            if lanes := [lane for lane in self._lanes(queue_of(job)) if self._free(lane)]:
                lane = self._rules.choose(lanes)
                self._used[lane.account] += 1
                self._sending[lane] += 1
                chosen.append(replace(job, account=lane.account))
        return chosen

    def _lanes(self, queue: JobQueue) -> list[JobQueue]:
        """The queue at each linked account that may run its jobs; itself if none is known."""
        prefix = f"{queue.provider}:"
        linked = [name for name in self._use.linked if name.startswith(prefix)]
        if not queue.any_account or not linked:
            return [queue]
        return [replace(queue, account=name) for name in linked]

    def _limit(self, lane: JobQueue) -> int:
        limit = self._rules.limits.get(lane.provider, 1)
        linked = self._use.linked.get(lane.account, limit)
        return min(limit, linked) if lane.provider in self._rules.capped else linked

    def _free(self, lane: JobQueue) -> int:
        """The free slots for *lane*.

        To try a paused account, one job may exceed its limit: earlier jobs may never end.
        """
        pauses = [pause for pause in self._use.pauses if pause.concerns(lane)]
        if any(pause.retry_at > self._at or self._is_tried(pause) for pause in pauses):
            return 0
        used, held = self._used[lane.account], self._use.held.get(lane.account)
        limits = (used + 1 if pauses else self._limit(lane), held, lane.max_jobs)
        return max(0, min(limit for limit in limits if limit is not None) - used)

    def _is_tried(self, pause: AccountPause) -> bool:
        """Whether a job that *pause* concerns is being sent."""
        return any(count and pause.concerns(queue) for queue, count in self._sending.items())
