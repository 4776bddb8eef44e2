"""Jobs out: waits for a free slot, sends, and reads the answer."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from service.admission import admit
from service.errors import Unavailable
from service.hands import GRACE_SECONDS, Hands
from service.jobs import (
    Code,
    Job,
    JobError,
    Report,
    Stage,
    Status,
    admitted,
    advance,
    ended,
    requeued,
)
from service.metrics import ANSWERS
from service.moves import Mover, Moves
from service.outbound import ProviderClient
from service.ports import Answered, Changes, Hold, Queue, Store
from service.providers import Answer, Busy, Doubt, Operation, Provider, Reply, Task, Unknown
from service.signing import CallbackTokens
from service.times import SECOND
from service.untrusted import read_json

IDLE_SECONDS: Final = 1.0
LEASE_MARGIN: Final = 30 * SECOND
MAX_DOUBTS: Final = 5
"""How often a request that may be repeated is repeated without an answer."""
_BUSY_SECONDS: Final = (10, 30)
"""useapi's page on frames/create: wait 10..30 seconds after a 429 and try again."""
log = structlog.get_logger()


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How we reach one provider, and where it reaches us."""

    provider: Provider
    client: ProviderClient
    max_jobs: int
    callback_base: str


class Submitter:
    """Sends jobs for which there is a slot; a crash in between leaves doubt, not a second job."""

    def __init__(
        self, store: Store, mover: Mover, lines: Mapping[str, Line], tokens: CallbackTokens
    ) -> None:
        self._store, self._mover, self._lines, self._tokens = store, mover, lines, tokens
        self._limits = {name: line.max_jobs for name, line in lines.items()}
        self._clock = mover.clock
        self._look = asyncio.Event()
        self._sending = Hands()
        self._waiting = True

    def look(self) -> None:
        """Look at the queues soon: something in them may have changed."""
        self._look.set()

    def committed(self, changes: Changes) -> None:
        """Look at the queues soon if there is a new job, or a slot that somebody waits for."""
        for job in changes.jobs.values():
            if job.status is Status.QUEUED or (self._waiting and job.ended):
                self.look()
                return

    async def run(self) -> None:
        """Send until cancelled; then let what is under way end, for a few seconds at most."""
        try:
            while True:
                self._look.clear()
                round_ = self._sending.spawn(self._round())
                await self._wait(await asyncio.shield(round_))
        finally:
            await self._sending.finish(GRACE_SECONDS)

    async def _round(self) -> float:
        """Claim and send; a claim is never left unsent by a cancel in between."""
        try:
            jobs = await self._claim()
            for group in _groups(jobs, self._operation):
                self._sending.spawn(self._send(group))
            return 0.0 if jobs else await self._pause()
        except Unavailable as exc:
            log.warning("submitter.waiting", reason=str(exc))
            return IDLE_SECONDS

    async def _pause(self) -> float:
        """How long nothing will be due; a wake-up of another process is only a hint."""
        at = self._clock()
        due = await self._store.next_job_due(at)
        return IDLE_SECONDS if due is None else min(IDLE_SECONDS, max(0.05, (due - at) / SECOND))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return

    async def _claim(self) -> list[Job]:
        at = self._clock()
        await self._settle_doubts(at)

        def choose(queues: Sequence[Queue]) -> list[Job]:
            chosen = admit(queues, self._limits)
            self._waiting = any(queue.jobs for queue in queues)
            return [admitted(job, at, at + self._lease(job)) for job in chosen]

        return await self._store.claim_jobs(at, choose)

    def _operation(self, job: Job) -> Operation:
        operation = self._lines[job.provider].provider.operation(job.operation)
        if operation is None:
            raise LookupError(f"{job.provider} no longer has an operation {job.operation}")
        return operation

    def _lease(self, job: Job) -> int:
        return int(self._operation(job).answer_timeout_seconds * SECOND) + LEASE_MARGIN

    async def _settle_doubts(self, at: int) -> None:
        """Jobs whose sender died before the answer: nobody knows whether they left."""
        for job in await self._store.jobs_in_doubt(at, at + LEASE_MARGIN):
            lost = Unknown(message="the service stopped before the answer came")
            await self._take_answers([job], {job.ref: lost}, None)

    async def _send(self, jobs: Sequence[Job]) -> None:
        line, operation = self._lines[jobs[0].provider], self._operation(jobs[0])
        provider = line.provider
        try:
            inputs = await self._store.inputs([job.id for job in jobs])
        except Unavailable as exc:
            await self._take_answers(jobs, _unsent(jobs, str(exc)), None)
            return
        tasks = [self._task(job, operation, inputs[job.id]) for job in jobs]
        call = provider.submit(tasks)
        if self._clock() + int(operation.answer_timeout_seconds * SECOND) > _leased_until(jobs):
            await self._take_answers(jobs, _unsent(jobs, "its lease ends too soon"), None)
            return
        reply = await line.client.send(call, operation.answer_timeout_seconds)
        if isinstance(reply, Reply):
            await self._take_answers(jobs, provider.read_answer(reply, tasks), reply)
        else:
            await self._take_answers(jobs, {job.ref: reply for job in jobs}, None)

    def _task(self, job: Job, operation: Operation, given: bytes) -> Task:
        url = None if operation.at_once else self._callback_url(job)
        return Task(ref=job.ref, operation=job.operation, input=read_json(given), callback_url=url)

    def _callback_url(self, job: Job) -> str:
        base = self._lines[job.provider].callback_base
        token = self._tokens.sign(job.provider, job.ref, job.created_at)
        return f"{base}/callbacks/{job.provider}/{job.ref}?t={token}"

    async def _take_answers(
        self, jobs: Sequence[Job], answers: Mapping[str, Answer], reply: Reply | None
    ) -> None:
        """Write what the answers mean; the store being away only makes it late."""

        def act(moves: Moves) -> None:
            for job in jobs:
                self._apply(moves, job, answers[job.ref])
                if reply is not None:
                    moves.changes.answers.append(_answered(job.ref, reply, moves.at))

        changes = await self._persist([job.ref for job in jobs], act)
        for job in jobs:
            _log(job, changes.jobs.get(job.id, job), answers[job.ref], reply)

    async def _persist(self, refs: Sequence[str], act: Callable[[Moves], None]) -> Changes:
        """An answer is worth money: try until the store takes it."""
        while True:
            try:
                return await self._mover.change(refs, act)
            except Unavailable as exc:
                log.warning("submitter.waiting", reason=str(exc))
                await asyncio.sleep(IDLE_SECONDS)

    def _apply(self, moves: Moves, sent: Job, answer: Answer) -> None:
        """Move the job as it stands now; only what is known counts if it was sent again since."""
        job = moves.job(sent.ref)
        if job is None or job.ref != sent.ref:
            return
        if isinstance(answer, Report):
            moved = advance(job, answer, moves.at)
            if moved is not None:
                moves.move(job, moved)
        elif job.status is Status.SUBMITTING and job.tries == sent.tries:
            if isinstance(answer, Busy):
                moves.move(job, requeued(job))
                moves.changes.holds[job.account] = _hold(answer, moves.at)
            else:
                moves.move(job, self._doubted(job, answer, moves.at))

    def _doubted(self, job: Job, unknown: Unknown, at: int) -> Job:
        """What becomes of a job of which nobody knows whether it reached its provider."""
        doubt = self._operation(job).in_doubt
        if doubt is Doubt.AWAIT:
            return msgspec.structs.replace(job, due_at=None, version=job.version + 1)
        if doubt is Doubt.RESEND and job.tries < MAX_DOUBTS:
            return msgspec.structs.replace(requeued(job), due_at=at + SECOND * 2**job.tries)
        error = JobError(
            code=Code.SUBMIT_UNKNOWN,
            message=f"It is not known whether the provider took the job: {unknown.message}.",
            retryable=True,
            stage=Stage.SUBMIT,
        )
        return ended(job, Status.FAILED, error, at)


def _leased_until(jobs: Sequence[Job]) -> int:
    return min(job.due_at or 0 for job in jobs)


def _unsent(jobs: Sequence[Job], reason: str) -> dict[str, Answer]:
    """Nothing has left the house: they may be sent again at once."""
    return {job.ref: Busy(message=reason, retry_after_seconds=0) for job in jobs}


def _hold(busy: Busy, at: int) -> Hold:
    """Leave the account alone: as long as it asked, or until one of its jobs has ended."""
    if busy.retry_after_seconds is not None:
        return Hold(until=at + int(busy.retry_after_seconds * SECOND), strict=True)
    pause = random.uniform(*_BUSY_SECONDS)  # noqa: S311 - spread, not secret
    return Hold(until=at + int(pause * SECOND), strict=False)


def _groups(jobs: Sequence[Job], operation_of: Callable[[Job], Operation]) -> list[list[Job]]:
    """Jobs submitted together travel together where the provider takes arrays."""
    groups: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        together = job.batch if operation_of(job).batched else None
        groups[job.account, together or job.id].append(job)
    return list(groups.values())


def _answered(ref: str, reply: Reply, at: int) -> Answered:
    return Answered(ref=ref, at=at, status_code=reply.status, body=reply.body)


def _log(before: Job, after: Job, answer: Answer, reply: Reply | None) -> None:
    ANSWERS.labels(before.provider, after.status).inc()
    log.info(
        "job.answered",
        job=before.id,
        ref=before.ref,
        provider=before.provider,
        operation=before.operation,
        status=after.status,
        status_code=None if reply is None else reply.status,
        answer=type(answer).__name__.lower(),
    )
