"""Callbacks in: however many are waiting share one transaction; each is answered after it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from service.domain.callbacks import KEPT_UNREADABLE, Callback, Judgement, Verdict, judge
from service.domain.jobs.job import Job, Report
from service.domain.jobs.state_machine import doubted
from service.domain.primitives.errors import Conflict
from service.domain.primitives.json_input import Unreadable
from service.providers.protocol import Provider
from service.runtime.group_commit import Batches
from service.runtime.observability.metrics import count_callback
from service.runtime.tasks import in_thread_if_large
from service.transactions.unit_of_work import Mover, Moves

GROUP: Final = 128
Read = Callable[[str, bytes], Sequence[Report] | None]
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

    def __init__(self, mover: Mover, providers: Mapping[str, Provider], *, reconcile: bool) -> None:
        self._mover, self._providers, self._reconcile = mover, providers, reconcile
        self._batches = Batches(self._commit, GROUP)
        self.run = self._batches.run

    async def receive(self, provider: str, ref: str, body: bytes) -> Judged:
        """Judge one callback; when this returns, all that follows from it is on disk."""
        arrival = await self._arrival(provider, ref, body)
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

    async def replay(self, callback: Callback) -> Callback:
        """Judge a stored callback again and let it move its job now."""
        if len(callback.body) >= KEPT_UNREADABLE and callback.verdict is Verdict.UNREADABLE:
            raise Conflict("Only the first 64 KiB of it were kept: that is not the whole callback.")
        arrival = await self._arrival(callback.provider, callback.ref, callback.body)
        judged = [callback]

        def act(moves: Moves) -> None:
            job = moves.job(callback.ref)
            if job is not None:
                judgement = self._judge(job, arrival, moves)
                judged[0] = _judged_again(callback, judgement)
                moves.changes.rejudged.append(judged[0])

        await self._mover.change([callback.ref], act)
        return judged[0]

    async def _arrival(self, provider: str, ref: str, body: bytes) -> Arrival:
        return await in_thread_if_large(len(body), _arrival, provider, ref, body, self._read)

    def _may_ask(self, job: Job) -> bool:
        return self._reconcile and self._providers[job.provider].look_up(job, 0) is not None

    def _read(self, provider: str, body: bytes) -> Sequence[Report] | None:
        try:
            return self._providers[provider].read_callback(body)
        except Unreadable:
            return None

    async def _commit(self, group: Sequence[Arrival]) -> Sequence[Judged]:
        judged: list[Judged] = []

        def act(moves: Moves) -> None:
            judged[:] = [self._take_in(arrival, moves) for arrival in group]

        changes = await self._mover.change([arrival.ref for arrival in group], act)
        if changes.repeated:
            judged = [_corrected(one, changes.repeated) for one in judged]
        return judged

    def _take_in(self, arrival: Arrival, moves: Moves) -> Judged:
        """Judge one callback and move its job; one for a job no longer kept is merely late."""
        job = moves.job(arrival.ref)
        if job is None:
            return Judged(Verdict.LATE)
        judgement = self._judge(job, arrival, moves)
        callback = _callback(arrival, job, judgement, moves)
        moves.changes.callbacks.append(callback)
        return Judged(judgement.verdict, callback.id, job.id)

    def _judge(self, job: Job, arrival: Arrival, moves: Moves) -> Judgement:
        judgement = judge(job, arrival.ref, arrival.reports, moves.at, self._may_ask)
        for after in judgement.steps:
            job = moves.follow(job, after)
        if judgement.doubt:
            moves.keep(doubted(job, judgement.doubt, moves.at))
        return judgement


def _arrival(provider: str, ref: str, body: bytes, read: Read) -> Arrival:
    return Arrival(
        provider=provider,
        ref=ref,
        body=body,
        digest=hashlib.blake2b(body, digest_size=16).hexdigest(),
        reports=read(provider, body),
    )


def _judged_again(callback: Callback, judgement: Judgement) -> Callback:
    return replace(
        callback,
        verdict=judgement.verdict,
        doubt=judgement.doubt,
        settled_at=None,
        settlement=None,
    )


def _callback(arrival: Arrival, job: Job, judgement: Judgement, moves: Moves) -> Callback:
    readable = judgement.verdict is not Verdict.UNREADABLE
    return Callback(
        id=moves.new_id("cb"),
        tenant=job.tenant,
        job_id=job.id,
        provider=arrival.provider,
        ref=arrival.ref,
        verdict=judgement.verdict,
        doubt=judgement.doubt,
        digest=arrival.digest,
        body=arrival.body if readable else arrival.body[:KEPT_UNREADABLE],
        received_at=moves.at,
    )


def _corrected(judged: Judged, repeated: set[str]) -> Judged:
    """The store knows which bytes it had; an unreadable callback stays what it is."""
    if judged.callback_id not in repeated or judged.verdict is Verdict.UNREADABLE:
        return judged
    return replace(judged, verdict=Verdict.REPEATED)
