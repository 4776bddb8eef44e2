"""Chooses the jobs that may be submitted now: slots per provider account, oldest job first."""

from collections.abc import Mapping, Sequence

import msgspec

from service.domain.jobs.job import Job


class AccountQueue(msgspec.Struct, frozen=True, kw_only=True):
    """The next queued jobs of one account, oldest first, and its *used* slots, which the query
    `jobs_under_way` counts.

    *slots* is how many slots a busy provider leaves us; None if it is not busy. While the account
    is *paused*, one job at a time is tried. *sending* is the number of jobs whose response is
    awaited.
    """

    account: str
    used: int
    sending: int = 0
    paused: bool = False
    slots: int | None
    jobs: Sequence[Job]


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The *jobs* to submit now; whether jobs were *waiting*; the accounts that are *paused*."""

    jobs: Sequence[Job]
    waiting: bool
    paused: frozenset[str]


def admit(queues: Sequence[AccountQueue], limits: Mapping[str, int]) -> list[Job]:
    """Choose the jobs to submit; *limits* are the slots per account, by provider."""
    return [job for queue in queues for job in _admit_from(queue, limits)]


def _admit_from(queue: AccountQueue, limits: Mapping[str, int]) -> list[Job]:
    """Choose the jobs of one account.

    The order is strict: a job that allows fewer jobs at a time (useapi's maxJobs) also delays those
    behind it. A paused account gets one job, even if earlier jobs still use its slots.
    """
    if queue.paused and queue.slots is None:
        return [] if queue.sending else list(queue.jobs[:1])
    chosen: list[Job] = []
    for job in queue.jobs:
        limit = limits[job.provider]
        slots = min(limit, job.max_jobs or limit)
        if queue.slots is not None:
            slots = min(slots, queue.slots)
        if queue.used + len(chosen) >= slots:
            break
        chosen.append(job)
    return chosen
