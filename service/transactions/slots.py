"""Chooses the jobs that may be submitted now: slots per provider account, oldest job first."""

from collections.abc import Iterable, Mapping

import msgspec

from service.domain.jobs.job import Job


class JobQueue(msgspec.Struct, frozen=True, array_like=True):
    """The queued jobs of one *account* that the same limits apply to.

    *max_jobs* is their own limit: each waits until fewer jobs than that are under way at the
    account. The store keeps the queue of a job as JSON, and claims the oldest jobs of each queue.
    """

    account: str
    max_jobs: int | None = None

    @property
    def provider(self) -> str:
        return self.account.partition(":")[0]


def queue_of(job: Job) -> JobQueue:
    return JobQueue(job.account, job.max_jobs)


class AccountState(msgspec.Struct, kw_only=True):
    """An account during a claim.

    *used* counts its jobs under way, *sending* those of them whose response is awaited. *slots* is
    how many slots a busy provider leaves us; None if it is not busy.
    """

    used: int = 0
    sending: int = 0
    slots: int | None = None
    paused: bool = False


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The *jobs* to submit now; whether jobs were *waiting*; the accounts that are *paused*."""

    jobs: list[Job]
    waiting: bool
    paused: frozenset[str]


class Slots:
    """The free slots of all accounts during one claim; *limits* are those of the providers.

    A provider without a limit, which no longer exists, gets one job at a time.
    """

    def __init__(self, limits: Mapping[str, int], accounts: Mapping[str, AccountState]) -> None:
        self._limits, self._accounts = limits, dict(accounts)

    def free(self, queue: JobQueue) -> int:
        """How many jobs of *queue* may be submitted now, if no others are.

        A paused account gets one job, even if earlier jobs still use its slots.
        """
        account = self._account(queue)
        limit = self._limits.get(queue.provider, 1)
        if account.slots is not None:
            limit = min(limit, account.slots)
        elif account.paused:
            return 0 if account.sending else 1
        if queue.max_jobs is not None:
            limit = min(limit, queue.max_jobs)
        return max(0, limit - account.used)

    def admit(self, jobs: Iterable[Job]) -> list[Job]:
        """Choose among *jobs*, the oldest first; a job that must wait delays no other."""
        chosen = []
        for job in jobs:
            queue = queue_of(job)
            if self.free(queue):
                account = self._account(queue)
                account.used, account.sending = account.used + 1, account.sending + 1
                chosen.append(job)
        return chosen

    def _account(self, queue: JobQueue) -> AccountState:
        return self._accounts.setdefault(queue.account, AccountState())
