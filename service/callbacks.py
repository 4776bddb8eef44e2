"""The callback: one request from a provider, raw, and the verdict on it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from service.jobs import Job, Report, advance
from service.times import rfc3339

KEPT_UNREADABLE: Final = 64 * 1024
"""Bytes kept of a callback that cannot be read."""


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    REPEATED = "repeated"
    LATE = "late"
    MISMATCHED = "mismatched"
    UNREADABLE = "unreadable"
    FORGED = "forged"


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One callback as it is kept; *digest* of the whole body, even where *body* was cut."""

    id: str
    tenant: str
    job_id: str
    provider: str
    ref: str
    verdict: Verdict
    digest: str
    body: bytes
    received_at: int
    repeats: int = 0


def correlate(job: Job, ref: str, reports: Sequence[Report]) -> list[Report] | None:
    """Keep the reports that speak of *ref*; None when the body speaks of another submission.

    The URL is ours and signed, so it counts first; whatever the body names must agree with it.
    """
    agreed = []
    for report in reports:
        named = [name for name in report.refs if name != ref]
        if not named and _same_task(job.provider_task_id, report.task_id):
            agreed.append(report)
        elif ref in report.refs:
            return None
    return agreed or None


def _same_task(known: str | None, named: str | None) -> bool:
    """Compare task ids, of which one may be the tail of the other: useapi's `taskId` and `id`."""
    return known is None or named is None or known.endswith(named) or named.endswith(known)


def judge(
    job: Job, ref: str, reports: Sequence[Report] | None, at: int
) -> tuple[Verdict, list[Job]]:
    """Say what a callback is and through which states it takes *job*; *reports* None: unreadable.

    A callback for an earlier submission of the job is late: the newer one decides.
    """
    if reports is None:
        return Verdict.UNREADABLE, []
    agreed = correlate(job, ref, reports)
    if agreed is None:
        return Verdict.MISMATCHED, []
    if job.ref != ref:
        return Verdict.LATE, []
    steps: list[Job] = []
    for report in agreed:
        moved = advance(steps[-1] if steps else job, report, at)
        if moved is not None:
            steps.append(moved)
    return (Verdict.ACCEPTED if steps else Verdict.LATE), steps


class CallbackView(msgspec.Struct, frozen=True, kw_only=True):
    """A callback as users see it; *body* only when one is asked for, with secrets redacted."""

    id: str
    object: str = "callback"
    provider: str
    ref: str
    job: str
    verdict: Verdict
    repeats: int
    received_at: str
    body: str | msgspec.UnsetType = msgspec.UNSET


def view(callback: Callback, body: str | msgspec.UnsetType = msgspec.UNSET) -> CallbackView:
    return CallbackView(
        id=callback.id,
        provider=callback.provider,
        ref=callback.ref,
        job=callback.job_id,
        verdict=callback.verdict,
        repeats=callback.repeats,
        received_at=rfc3339(callback.received_at),
        body=body,
    )
