"""Jobs out: waits for a free slot, sends, and reads the answer."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import ErrorCode
from service.domain.jobs.state_machine import admitted
from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.domain.security.callback_signer import CallbackSigner
from service.providers.http_status import failed
from service.providers.protocol import (
    Answer,
    Call,
    Inconclusive,
    Operation,
    Provider,
    ProviderTask,
    Reply,
    RetryLater,
)
from service.runtime.clients.provider_client import ProviderChannel
from service.runtime.observability.metrics import SUBMISSIONS
from service.runtime.tasks import GRACE_SECONDS, TaskSet, in_thread_if_large
from service.runtime.wakeups import WakeupEvent
from service.transactions.change_set import ChangeSet, RawResponse
from service.transactions.slots import AccountQueue, admit
from service.transactions.store_protocols import Store
from service.transactions.submit_outcome import SubmitResult, is_refused, take_answer
from service.transactions.unit_of_work import Transactions, UnitOfWork

IDLE_SECONDS: Final = 1.0
LEASE_MARGIN: Final = 30 * SECOND
_NOT_MADE: Final = failed(
    ErrorCode.PROVIDER_ERROR,
    "The request to the provider could not be made: a fault of this service, which is in its log.",
    retryable=True,
)
log = structlog.get_logger()


class Submitter:
    """Sends jobs for which there is a slot; a crash in between leaves doubt, not a second job."""

    def __init__(
        self,
        store: Store,
        transactions: Transactions,
        channels: Mapping[str, ProviderChannel],
        tokens: CallbackSigner,
    ) -> None:
        self._store, self._transactions, self._channels, self._tokens = (
            store,
            transactions,
            channels,
            tokens,
        )
        self._limits = {name: channel.max_jobs for name, channel in channels.items()}
        self._clock = transactions.clock
        self._wakeup = WakeupEvent()
        self._sending = TaskSet()
        self._waiting = True
        self._paused: set[str] = set()

    def wake(self) -> None:
        """Look at the queues soon: something in them may have changed."""
        self._wakeup.set()

    def on_commit(self, changes: ChangeSet) -> None:
        """Look at the queues soon if there is a new job, or a slot that somebody waits for."""
        for job in changes.jobs.values():
            if job.status is Status.QUEUED or (self._waiting and job.ended):
                self.wake()
                return

    async def run(self) -> None:
        """Send until cancelled; then let what is under way end, for a few seconds at most."""
        try:
            while True:
                self._wakeup.clear()
                round_ = self._sending.spawn(self._round())
                await self._wakeup.wait(await asyncio.shield(round_))
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

    async def _claim(self) -> list[Job]:
        at = self._clock()
        await self._settle_doubts(at)

        def choose(queues: Sequence[AccountQueue]) -> list[Job]:
            chosen = admit(queues, self._limits)
            self._waiting = any(queue.jobs for queue in queues)
            self._paused = {queue.account for queue in queues if queue.paused}
            return [admitted(job, at, at + self._lease(job)) for job in chosen]

        return await self._store.claim_jobs(at, choose)

    def _operation(self, job: Job) -> Operation:
        operation = self._channels[job.provider].provider.operation(job.operation)
        if operation is None:
            raise LookupError(f"{job.provider} no longer has an operation {job.operation}")
        return operation

    def _lease(self, job: Job) -> int:
        return int(self._operation(job).answer_timeout_seconds * SECOND) + LEASE_MARGIN

    async def _settle_doubts(self, at: int) -> None:
        """Jobs whose sender died before the answer: nobody knows whether they left."""
        for job in await self._store.jobs_in_doubt(at, at + LEASE_MARGIN):
            lost = Inconclusive(message="the service stopped before the answer came")
            await self._take_answers([job], {job.ref: lost}, None)

    async def _send(self, jobs: Sequence[Job]) -> None:
        """Send *jobs*, which travel together; a fault of our own ends them too, and is logged."""
        channel, operation = self._channels[jobs[0].provider], self._operation(jobs[0])
        try:
            inputs = await self._store.inputs([job.id for job in jobs])
            size = sum(map(len, inputs.values()))
            tasks, call = await in_thread_if_large(size, self._prepared, jobs, inputs)
        except Unavailable as exc:
            await self._take_answers(jobs, _unsent(jobs, str(exc)), None)
            return
        except Exception:
            log.exception("submitter.failed")
            await self._take_answers(jobs, {job.ref: _NOT_MADE for job in jobs}, None)
            return
        if self._clock() + int(operation.answer_timeout_seconds * SECOND) > _leased_until(jobs):
            await self._take_answers(jobs, _unsent(jobs, "its lease ends too soon"), None)
            return
        reply = await channel.client.send(call, operation.answer_timeout_seconds)
        if isinstance(reply, Reply):
            await self._take_answers(
                jobs, await self._answers(reply, tasks, channel.provider), reply
            )
        else:
            await self._take_answers(jobs, {job.ref: reply for job in jobs}, None)

    async def _answers(
        self, reply: Reply, tasks: Sequence[ProviderTask], provider: Provider
    ) -> Mapping[str, Answer]:
        """Read *reply*; one that our own fault keeps us from reading leaves doubt."""
        try:
            read, size = provider.read_answer, len(reply.body)
            return await in_thread_if_large(size, read, reply, tasks)
        except Exception as exc:
            log.exception("submitter.failed")
            unread = Inconclusive(message=f"its answer could not be read ({type(exc).__name__})")
            return {task.ref: unread for task in tasks}

    def _prepared(
        self, jobs: Sequence[Job], inputs: Mapping[str, bytes]
    ) -> tuple[list[ProviderTask], Call]:
        """Put *jobs*, which are of one operation, into one request."""
        tasks = [self._task(job, inputs[job.id]) for job in jobs]
        return tasks, self._channels[jobs[0].provider].provider.submit(tasks)

    def _task(self, job: Job, given: bytes) -> ProviderTask:
        url = None if self._operation(job).answers_immediately else self._callback_url(job)
        fields = msgspec.json.decode(given)  # checked and encoded by us, when the job was taken
        return ProviderTask(ref=job.ref, operation=job.operation, input=fields, callback_url=url)

    def _callback_url(self, job: Job) -> str:
        base = self._channels[job.provider].callback_base
        token = self._tokens.sign(job.provider, job.ref, job.created_at)
        return f"{base}/callbacks/{job.provider}/{job.ref}?t={token}"

    async def _take_answers(
        self, jobs: Sequence[Job], answers: Mapping[str, Answer], reply: Reply | None
    ) -> None:
        """Write what the answers mean; the store being away only makes it late."""

        def act(uow: UnitOfWork) -> None:
            for job in jobs:
                take_answer(uow, self._answered(job, answers[job.ref], reply))
                if reply is not None:
                    uow.changes.responses.append(_kept(job.ref, reply, uow.at))

        refused = any(is_refused(answer, reply) for answer in answers.values())
        accounts = refused or jobs[0].account in self._paused
        changes = await self._persist([job.ref for job in jobs], act, accounts=accounts)
        if changes.resumed_accounts:
            self.wake()
        for job in jobs:
            _log(job, changes.jobs.get(job.id, job), answers[job.ref], reply)

    def _answered(self, sent: Job, answer: Answer, reply: Reply | None) -> SubmitResult:
        return SubmitResult(
            sent=sent,
            answer=answer,
            reply=reply,
            on_lost_answer=self._operation(sent).on_lost_answer,
            jitter=random.random(),  # noqa: S311 - spread, not secret
        )

    async def _persist(
        self, refs: Sequence[str], act: Callable[[UnitOfWork], None], *, accounts: bool
    ) -> ChangeSet:
        """An answer is worth money: try until the store takes it."""
        while True:
            try:
                return await self._transactions.change(refs, act, accounts=accounts)
            except Unavailable as exc:
                log.warning("submitter.waiting", reason=str(exc))
                await asyncio.sleep(IDLE_SECONDS)


def _leased_until(jobs: Sequence[Job]) -> int:
    return min(job.due_at or 0 for job in jobs)


def _unsent(jobs: Sequence[Job], reason: str) -> dict[str, Answer]:
    """Nothing has left the house: they may be sent again at once."""
    return {job.ref: RetryLater(message=reason, retry_after_seconds=0) for job in jobs}


def _groups(jobs: Sequence[Job], operation_of: Callable[[Job], Operation]) -> list[list[Job]]:
    """Jobs submitted together travel together where the provider takes arrays."""
    groups: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        together = job.batch if operation_of(job).batched else None
        groups[job.account, together or job.id].append(job)
    return list(groups.values())


def _kept(ref: str, reply: Reply, at: int) -> RawResponse:
    return RawResponse(ref=ref, at=at, status_code=reply.status, body=reply.body)


def _log(before: Job, after: Job, answer: Answer, reply: Reply | None) -> None:
    SUBMISSIONS.labels(before.provider, after.status).inc()
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
