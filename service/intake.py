"""Callbacks in: however many are waiting share one transaction; each is answered after it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from service.batches import Batches
from service.callbacks import KEPT_UNREADABLE, Callback, Verdict, judge
from service.jobs import Job, Report
from service.metrics import count_callback
from service.moves import Mover, Moves
from service.providers import Provider
from service.untrusted import Unreadable

GROUP: Final = 128
log = structlog.get_logger()


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """An authentic callback as it came in; *reports* None when its body cannot be read."""

    provider: str
    ref: str
    body: bytes
    digest: str
    reports: Sequence[Report] | None


class Judged(msgspec.Struct, frozen=True):
    """What became of a callback; no *job_id* when its job is no longer kept."""

    verdict: Verdict
    callback_id: str | None = None
    job_id: str | None = None


class Intake:
    """Receives callbacks whose signature has been verified."""

    def __init__(self, mover: Mover, providers: Mapping[str, Provider]) -> None:
        self._mover, self._providers = mover, providers
        self._batches = Batches(self._commit, GROUP)
        self.run = self._batches.run

    async def receive(self, provider: str, ref: str, body: bytes) -> Judged:
        """Judge one callback; when this returns, all that follows from it is on disk."""
        arrival = Arrival(
            provider=provider,
            ref=ref,
            body=body,
            digest=hashlib.blake2b(body, digest_size=16).hexdigest(),
            reports=self._read(provider, body),
        )
        judged = await self._batches.put(arrival)
        count_callback(provider, judged.verdict)
        log.info(
            "callback.received",
            provider=provider,
            ref=ref,
            verdict=judged.verdict,
            job=judged.job_id,
            bytes=len(body),
        )
        return judged

    def _read(self, provider: str, body: bytes) -> Sequence[Report] | None:
        try:
            return self._providers[provider].read_callback(body)
        except Unreadable:
            return None

    async def _commit(self, group: Sequence[Arrival]) -> Sequence[Judged]:
        judged: list[Judged] = []

        def act(moves: Moves) -> None:
            judged[:] = [_take_in(arrival, moves) for arrival in group]

        changes = await self._mover.change([arrival.ref for arrival in group], act)
        if changes.repeated:
            judged = [_corrected(one, changes.repeated) for one in judged]
        return judged


def _take_in(arrival: Arrival, moves: Moves) -> Judged:
    """Judge one callback and move its job; one for a job no longer kept is merely late."""
    job = moves.job(arrival.ref)
    if job is None:
        return Judged(Verdict.LATE)
    verdict, steps = judge(job, arrival.ref, arrival.reports, moves.at)
    before = job
    for after in steps:
        before = moves.move(before, replace(after, sequence=before.sequence))
    callback = _callback(arrival, job, verdict, moves)
    moves.changes.callbacks.append(callback)
    return Judged(verdict, callback.id, job.id)


def _callback(arrival: Arrival, job: Job, verdict: Verdict, moves: Moves) -> Callback:
    readable = verdict is not Verdict.UNREADABLE
    return Callback(
        id=moves.new_id("cb"),
        tenant=job.tenant,
        job_id=job.id,
        provider=arrival.provider,
        ref=arrival.ref,
        verdict=verdict,
        digest=arrival.digest,
        body=arrival.body if readable else arrival.body[:KEPT_UNREADABLE],
        received_at=moves.at,
    )


def _corrected(judged: Judged, repeated: set[str]) -> Judged:
    """The store knows which bytes it had; an unreadable callback stays what it is."""
    if judged.callback_id not in repeated or judged.verdict is Verdict.UNREADABLE:
        return judged
    return replace(judged, verdict=Verdict.REPEATED)
