"""The submitter: sends queued jobs to their providers and applies the responses."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog

from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import ErrorCode
from service.domain.jobs.state_machine import admitted
from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.domain.security.callback_signer import CallbackSigner
from service.providers.kit.http_status import failed
from service.providers.protocol import (
    Answer,
    Call,
    Inconclusive,
    LostAnswerPolicy,
    Operation,
    Provider,
    ProviderTask,
    Reply,
    RetryLater,
)
from service.providers.refusals import AccountRefused
from service.runtime.clients.provider_client import ProviderChannel
from service.runtime.observability.metrics import SUBMISSIONS
from service.runtime.tasks import GRACE_SECONDS, TaskSet, in_thread_if_large
from service.runtime.wakeups import WakeupEvent
from service.transactions.change_set import ChangeSet, RawResponse
from service.transactions.slots import SlotRules
from service.transactions.store_protocols import Store
from service.transactions.submit_outcome import SubmitResult, apply_answer
from service.transactions.unit_of_work import Transactions

IDLE_SECONDS: Final = 1.0
"""The longest pause between two claims: wake-ups of other processes may be lost."""
LEASE_MARGIN: Final = 30 * SECOND
_NOT_BUILT: Final = failed(
    ErrorCode.PROVIDER_ERROR,
    "The request to the provider could not be built: an error of this service, see its log.",
    retryable=True,
)
_NO_OPERATION: Final = failed(
    ErrorCode.INVALID_INPUT,
    "This operation was removed while the job waited: submit a new job with another operation.",
)
log = structlog.get_logger()


class SubmitWakeup(WakeupEvent):
    """Wakes the submitter if a job was queued, or if others *waiting* may now be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = True

    def on_commit(self, changes: ChangeSet) -> None:
        if None in changes.pauses.values():
            self.set()
        for job in changes.jobs.values():
            if job.status is Status.QUEUED or (self.waiting and job.ended):
                self.set()
                return


class Submitter:
    """Sends jobs for which there is a slot.

    A job is `submitting` under a lease before its request is sent. If the process stops before the
    response is stored, the operation's `LostAnswerPolicy` decides; it is never blindly sent again.
    """

    def __init__(
        self,
        store: Store,
        transactions: Transactions,
        wakeup: SubmitWakeup,
        channels: Mapping[str, ProviderChannel],
        signer: CallbackSigner,
    ) -> None:
        self._store, self._transactions, self._wakeup = store, transactions, wakeup
        self._channels, self._signer = channels, signer
        self._rules = SlotRules(
            limits={name: channel.max_jobs for name, channel in channels.items()},
            capped=frozenset(name for name, one in channels.items() if one.is_max_jobs_set),
            choose=random.choice,
        )
        self._clock = transactions.clock
        self._sending = TaskSet()

    async def run(self) -> None:
        """Send until cancelled; then let requests in flight end, for a few seconds at most."""
        try:
            while True:
                self._wakeup.clear()
                round_ = self._sending.spawn(self._round())
                await self._wakeup.wait(await asyncio.shield(round_))
        finally:
            await self._sending.finish(GRACE_SECONDS)

    async def _round(self) -> float:
        """Claim jobs and start sending them; returns the pause in seconds.

        It is not cancelled between the two, so that no claimed job stays unsent.
        """
        at = self._clock()
        try:
            for job in await self._store.jobs.claim_unanswered(at, at + LEASE_MARGIN):
                lost = Inconclusive(message="the service stopped before the answer came")
                await self._apply_answers([job], {job.ref: lost}, None)
            self._wakeup.waiting = True  # a job may end while the claim is committed
            admission = await self._store.jobs.claim(at, self._rules, partial(self._start, at))
            self._wakeup.waiting = admission.waiting
            for group in self._groups(admission.jobs):
                self._sending.spawn(self._send(group))
            if admission.jobs:
                return 0.0
            due = await self._store.jobs.next_due(at)
        except Unavailable as exc:
            log.warning("submitter.waiting", reason=str(exc))
            return IDLE_SECONDS
        if due is None:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(0.05, (due - self._clock()) / SECOND))

    def _start(self, at: int, job: Job) -> Job:
        operation = self._operation(job)
        timeout = 0 if operation is None else int(operation.answer_timeout_seconds * SECOND)
        return admitted(job, at, at + timeout + LEASE_MARGIN)

    def _operation(self, job: Job) -> Operation | None:
        """The operation of *job*; None if it was removed while the job waited."""
        channel = self._channels.get(job.provider)
        return None if channel is None else channel.provider.operation(job.operation)

    def _groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Jobs of one request go into one call where the provider takes arrays."""
        groups: dict[tuple[str, str], list[Job]] = defaultdict(list)
        for job in jobs:
            operation = self._operation(job)
            batch = job.batch if operation is not None and operation.batched else None
            groups[job.account, batch or job.id].append(job)
        return list(groups.values())

    async def _send(self, jobs: Sequence[Job]) -> None:
        """Send one call with *jobs*; an error of this service fails them and is logged."""
        operation = self._operation(jobs[0])
        if operation is None:
            await self._apply_answers(jobs, {job.ref: _NO_OPERATION for job in jobs}, None)
            return
        channel = self._channels[jobs[0].provider]
        try:
            inputs = await self._store.jobs.inputs([job.id for job in jobs])
            size = sum(map(len, inputs.values()))
            urls = {job.ref: self._callback_url(job) for job in jobs}
            tasks, call = await in_thread_if_large(size, self._build_call, jobs, inputs, urls)
        except Unavailable as exc:
            await self._requeue(jobs, str(exc))
            return
        except Exception:
            log.exception("submitter.failed")
            await self._apply_answers(jobs, {job.ref: _NOT_BUILT for job in jobs}, None)
            return
        leased_until = min(job.due_at or 0 for job in jobs)
        if self._clock() + int(operation.answer_timeout_seconds * SECOND) > leased_until:
            await self._requeue(jobs, "its lease ends too soon")
            return
        reply = await channel.client.send(call, operation.answer_timeout_seconds)
        if isinstance(reply, Reply):
            answers = await self._read_answers(reply, tasks, channel.provider)
            await self._apply_answers(jobs, answers, reply)
        else:
            await self._apply_answers(jobs, {job.ref: reply for job in jobs}, None)

    async def _requeue(self, jobs: Sequence[Job], reason: str) -> None:
        """The request was not sent; it is safe to requeue."""
        later = RetryLater(message=reason, retry_after_seconds=0)
        await self._apply_answers(jobs, {job.ref: later for job in jobs}, None)

    def _build_call(
        self, jobs: Sequence[Job], inputs: Mapping[str, bytes], urls: Mapping[str, str | None]
    ) -> tuple[list[ProviderTask], Call]:
        """Build one request from *jobs*, which have the same operation; may run in a thread."""
        tasks = [
            ProviderTask(
                ref=job.ref,
                operation=job.operation,
                input=msgspec.json.decode(inputs[job.id]),  # checked when the job was created
                callback_url=urls[job.ref],
                account=job.account.partition(":")[2] or None if job.any_account else None,
            )
            for job in jobs
        ]
        return tasks, self._channels[jobs[0].provider].provider.submit(tasks)

    def _callback_url(self, job: Job) -> str | None:
        """The signed URL for the job's callback; None if the provider is not given one."""
        callbacks, operation = self._channels[job.provider].provider.callbacks, self._operation(job)
        if callbacks is None or callbacks.account_wide:
            return None
        if operation is None or operation.answers_immediately:
            return None
        token = self._signer.sign(job.provider, job.ref, job.created_at)
        base = self._channels[job.provider].callback_base
        return f"{base}/callbacks/{job.provider}/{job.ref}?t={token}"

    async def _read_answers(
        self, reply: Reply, tasks: Sequence[ProviderTask], provider: Provider
    ) -> Mapping[str, Answer]:
        """Read *reply*; if an error of this service prevents that, the answer is inconclusive."""
        try:
            return await in_thread_if_large(len(reply.body), provider.read_answer, reply, tasks)
        except Exception as exc:
            log.exception("submitter.failed")
            unread = Inconclusive(message=f"its answer could not be read ({type(exc).__name__})")
            return {task.ref: unread for task in tasks}

    async def _apply_answers(
        self, jobs: Sequence[Job], answers: Mapping[str, Answer], reply: Reply | None
    ) -> None:
        """Retry until committed: losing an answer could duplicate a paid job."""
        while True:
            try:
                changes = await self._commit(jobs, answers, reply)
                break
            except Unavailable as exc:
                log.warning("submitter.waiting", reason=str(exc))
                await asyncio.sleep(IDLE_SECONDS)
        for job in jobs:
            _log(job, changes.jobs.get(job.id, job), answers[job.ref], reply)

    async def _commit(
        self, jobs: Sequence[Job], answers: Mapping[str, Answer], reply: Reply | None
    ) -> ChangeSet:
        accounts = any(isinstance(answer, AccountRefused) for answer in answers.values())
        refs = [job.ref for job in jobs]
        async with self._transactions.begin(refs, accounts=accounts) as uow:
            for job in jobs:
                operation = self._operation(job)
                result = SubmitResult(
                    sent=job,
                    answer=answers[job.ref],
                    on_lost_answer=operation.on_lost_answer if operation else LostAnswerPolicy.FAIL,
                    jitter=random.random(),  # noqa: S311 - spread, not secret
                )
                apply_answer(uow, result)
                if reply is not None:
                    uow.changes.responses.append(
                        RawResponse(
                            ref=job.ref, at=uow.at, status_code=reply.status, body=reply.body
                        )
                    )
        return uow.changes


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
        answer="results" if isinstance(answer, tuple) else type(answer).__name__.lower(),
    )
