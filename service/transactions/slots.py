"""Which jobs may be sent now: slots per provider account, first come, first served."""

from collections.abc import Mapping, Sequence

import msgspec

from service.domain.jobs.job import Job


class AccountQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What waits at one account: its next jobs, oldest first, and its used slots.

    *slots* is how many a busy provider leaves us; None if it has not complained. While the account
    is *paused*, one job at a time is tried. *sending* are the jobs whose response is awaited.
    """

    account: str
    used: int
    sending: int = 0
    paused: bool = False
    slots: int | None
    jobs: Sequence[Job]


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The *jobs* that are sent now; whether jobs were *waiting*; the accounts that are *paused*."""

    jobs: Sequence[Job]
    waiting: bool
    paused: frozenset[str]


def admit(queues: Sequence[AccountQueue], limits: Mapping[str, int]) -> list[Job]:
    """Choose the jobs to send; *limits* are the slots of an account, by provider."""
    return [job for queue in queues for job in _of(queue, limits)]


def _of(queue: AccountQueue, limits: Mapping[str, int]) -> list[Job]:
    """A job that wants fewer neighbours (useapi's maxJobs) holds up those behind it, in turn.

    An account that was refused is tried with one job, whatever is still under way there.
    """
    if queue.paused and queue.slots is None:
        return [] if queue.sending else list(queue.jobs[:1])
    chosen: list[Job] = []
    for job in queue.jobs:
        if queue.used + len(chosen) >= _slots(queue, job, limits):
            break
        chosen.append(job)
    return chosen


def _slots(queue: AccountQueue, job: Job, limits: Mapping[str, int]) -> int:
    slots = min(limits[job.provider], job.max_jobs or limits[job.provider])
    return slots if queue.slots is None else min(slots, queue.slots)
