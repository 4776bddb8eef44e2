"""Callbacks in: however many are waiting share one transaction; each is answered after it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from service.domain.callbacks import UNREADABLE_BYTES_KEPT, Assessment, Callback, Verdict, assess
from service.domain.jobs.job import Job, Report
from service.domain.jobs.state_machine import schedule_reconcile
from service.domain.primitives.errors import Conflict
from service.domain.primitives.json_input import UnreadableJson
from service.providers.protocol import Provider
from service.runtime.group_commit import GroupCommitter
from service.runtime.observability.metrics import count_callback
from service.runtime.tasks import in_thread_if_large
from service.transactions.unit_of_work import Transactions, UnitOfWork

GROUP: Final = 128
Read = Callable[[str, bytes], Sequence[Report] | None]
log = structlog.get_logger()


class VerifiedCallback(msgspec.Struct, frozen=True, kw_only=True):
    """An authentic callback as it came in; *reports* None when its body cannot be read."""

    provider: str
    ref: str
    body: bytes
    digest: str
    reports: Sequence[Report] | None


class IntakeResult(msgspec.Struct, frozen=True):
    """What became of a callback; no *job_id* when its job is no longer kept."""

    verdict: Verdict
    callback_id: str | None = None
    job_id: str | None = None


class CallbackIntake:
    """Receives callbacks whose signature has been verified."""

    def __init__(
        self, transactions: Transactions, providers: Mapping[str, Provider], *, reconcile: bool
    ) -> None:
        self._transactions, self._providers, self._reconcile = transactions, providers, reconcile
        self._batches = GroupCommitter(self._commit, GROUP)
        self.run = self._batches.run

    async def receive(self, provider: str, ref: str, body: bytes) -> IntakeResult:
        """Judge one callback; when this returns, all that follows from it is on disk."""
        verified = await self._verified(provider, ref, body)
        judged = await self._batches.put(verified)
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
        if len(callback.body) >= UNREADABLE_BYTES_KEPT and callback.verdict is Verdict.UNREADABLE:
            raise Conflict("Only the first 64 KiB of it were kept: that is not the whole callback.")
        verified = await self._verified(callback.provider, callback.ref, callback.body)
        judged = [callback]

        def act(uow: UnitOfWork) -> None:
            job = uow.job(callback.ref)
            if job is not None:
                assessment = self._judge(job, verified, uow)
                judged[0] = _judged_again(callback, assessment)
                uow.changes.reassessed.append(judged[0])

        await self._transactions.change([callback.ref], act)
        return judged[0]

    async def _verified(self, provider: str, ref: str, body: bytes) -> VerifiedCallback:
        return await in_thread_if_large(len(body), _verified, provider, ref, body, self._read)

    def _may_ask(self, job: Job) -> bool:
        return self._reconcile and self._providers[job.provider].lookup(job, 0) is not None

    def _read(self, provider: str, body: bytes) -> Sequence[Report] | None:
        try:
            return self._providers[provider].read_callback(body)
        except UnreadableJson:
            return None

    async def _commit(self, group: Sequence[VerifiedCallback]) -> Sequence[IntakeResult]:
        judged: list[IntakeResult] = []

        def act(uow: UnitOfWork) -> None:
            judged[:] = [self._take_in(verified, uow) for verified in group]

        changes = await self._transactions.change([verified.ref for verified in group], act)
        if changes.repeated_callbacks:
            judged = [_corrected(one, changes.repeated_callbacks) for one in judged]
        return judged

    def _take_in(self, verified: VerifiedCallback, uow: UnitOfWork) -> IntakeResult:
        """Judge one callback and move its job; one for a job no longer kept is merely late."""
        job = uow.job(verified.ref)
        if job is None:
            return IntakeResult(Verdict.LATE)
        assessment = self._judge(job, verified, uow)
        callback = _callback(verified, job, assessment, uow)
        uow.changes.callbacks.append(callback)
        return IntakeResult(assessment.verdict, callback.id, job.id)

    def _judge(self, job: Job, verified: VerifiedCallback, uow: UnitOfWork) -> Assessment:
        assessment = assess(job, verified.ref, verified.reports, uow.at, self._may_ask)
        for after in assessment.steps:
            job = uow.transition_step(job, after)
        if assessment.reconcile_reason:
            uow.save_silently(schedule_reconcile(job, assessment.reconcile_reason, uow.at))
        return assessment


def _verified(provider: str, ref: str, body: bytes, read: Read) -> VerifiedCallback:
    return VerifiedCallback(
        provider=provider,
        ref=ref,
        body=body,
        digest=hashlib.blake2b(body, digest_size=16).hexdigest(),
        reports=read(provider, body),
    )


def _judged_again(callback: Callback, assessment: Assessment) -> Callback:
    return replace(
        callback,
        verdict=assessment.verdict,
        doubt=assessment.reconcile_reason,
        settled_at=None,
        settlement=None,
    )


def _callback(
    verified: VerifiedCallback, job: Job, assessment: Assessment, uow: UnitOfWork
) -> Callback:
    readable = assessment.verdict is not Verdict.UNREADABLE
    return Callback(
        id=uow.new_id("cb"),
        tenant=job.tenant,
        job_id=job.id,
        provider=verified.provider,
        ref=verified.ref,
        verdict=assessment.verdict,
        doubt=assessment.reconcile_reason,
        digest=verified.digest,
        body=verified.body if readable else verified.body[:UNREADABLE_BYTES_KEPT],
        received_at=uow.at,
    )


def _corrected(judged: IntakeResult, repeated: set[str]) -> IntakeResult:
    """The store knows which bytes it had; an unreadable callback stays what it is."""
    if judged.callback_id not in repeated or judged.verdict is Verdict.UNREADABLE:
        return judged
    return replace(judged, verdict=Verdict.REPEATED)
