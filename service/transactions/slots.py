"""Chooses the jobs that may be submitted now: slots per provider account, oldest job first."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import ErrorStage
from service.providers.protocol import RefusalScope


class JobQueue(msgspec.Struct, frozen=True, array_like=True):
    """The queued jobs of one *account* that the same limits apply to.

    *max_jobs* is their own limit: each waits until fewer jobs than that are under way at the
    account. The store keeps the queue of a job as JSON, and claims the oldest jobs of each queue.
    """

    account: str
    uses_credits: bool = True
    max_jobs: int | None = None

    @property
    def provider(self) -> str:
        return self.account.partition(":")[0]


def queue_of(job: Job) -> JobQueue:
    return JobQueue(job.account, job.uses_credits, job.max_jobs)


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
        is_later = job.admitted_at is not None and job.admitted_at > self.paused_at
        return is_later and _was_accepted(job) and self.concerns(job)


def _was_accepted(job: Job) -> bool:
    if job.status is Status.FAILED:
        return job.error is not None and job.error.stage is ErrorStage.PROVIDER
    return job.status in (Status.SUBMITTED, Status.RUNNING, Status.SUCCEEDED)


class AccountUse(msgspec.Struct, frozen=True, kw_only=True):
    """How the accounts are used when a claim begins.

    *used* counts the jobs under way by account, *sending* by queue those whose response is awaited.
    *held*: the slots that a busy provider leaves an account.
    """

    used: Counter[str] = msgspec.field(default_factory=Counter)
    sending: Counter[JobQueue] = msgspec.field(default_factory=Counter)
    held: Mapping[str, int] = {}
    pauses: Sequence[AccountPause] = ()


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The *jobs* to submit now, and whether jobs were *waiting*."""

    jobs: list[Job]
    waiting: bool


class Slots:
    """The free slots of all accounts during the claim at *at*.

    *limits* are those of each account, by provider. A provider without one no longer exists; it
    gets one job at a time.
    """

    def __init__(self, limits: Mapping[str, int], use: AccountUse, at: int) -> None:
        self._limits, self._held, self._pauses, self._at = limits, use.held, use.pauses, at
        self._used, self._sending = use.used.copy(), use.sending.copy()

    def free(self, queue: JobQueue) -> int:
        """How many jobs of *queue* may be submitted now, if no others are.

        To try a paused account, one job may exceed its limit: earlier jobs may never end.
        """
        pauses = [pause for pause in self._pauses if pause.concerns(queue)]
        if any(pause.retry_at > self._at or self._is_tried(pause) for pause in pauses):
            return 0
        limit = self._limits.get(queue.provider, 1)
        used = self._used[queue.account]
        limits = (used + 1 if pauses else limit, self._held.get(queue.account), queue.max_jobs)
        return max(0, min(limit for limit in limits if limit is not None) - used)

    def admit(self, jobs: Iterable[Job]) -> list[Job]:
        """Choose among *jobs*, the oldest first; a job that must wait delays no other."""
        chosen = []
        for job in jobs:
            queue = queue_of(job)
            if self.free(queue):
                self._used[queue.account] += 1
                self._sending[queue] += 1
                chosen.append(job)
        return chosen

    def _is_tried(self, pause: AccountPause) -> bool:
        """Whether a job that *pause* concerns is being sent."""
        return any(count and pause.concerns(queue) for queue, count in self._sending.items())
