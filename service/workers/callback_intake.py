"""Callback intake: waiting callbacks share one transaction; each is answered after its commit."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from service.domain.callbacks import UNREADABLE_BYTES_KEPT, Assessment, Callback, Verdict, assess
from service.domain.jobs.job import Job, ReconcileReason, Report, Status
from service.domain.jobs.state_machine import schedule_reconcile
from service.domain.primitives.errors import Conflict, Unavailable
from service.domain.primitives.json_input import UnreadableJson
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Provider
from service.runtime.group_commit import GroupCommitter
from service.runtime.observability.metrics import count_callback
from service.runtime.tasks import in_thread_if_large
from service.transactions.store_protocols import Store
from service.transactions.unit_of_work import Transactions, UnitOfWork

GROUP: Final = 128
"""Callbacks that share one transaction at most."""
UNMATCHED: Final = "unmatched"
"""The verdict, in metrics only, on a callback about a task of the account that is no job."""
UNMATCHED_GRACE: Final = 30 * SECOND
"""How long a submit that a callback may have overtaken is given to be answered."""
log = structlog.get_logger()


class VerifiedCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback with a valid signature; *reports* is None if its body cannot be read.

    *digest* is the BLAKE2b of the whole body, 16 bytes in hexadecimal. *headers* have no
    credentials.
    """

    provider: str
    ref: str
    body: bytes
    headers: dict[str, str]
    digest: str
    reports: Sequence[Report] | None


class IntakeResult(msgspec.Struct, frozen=True):
    """What became of a callback; without ids if its job was deleted by the retention."""

    verdict: Verdict
    callback_id: str | None = None
    job_id: str | None = None


class CallbackIntake:
    """Stores callbacks and applies them to their jobs."""

    def __init__(
        self,
        store: Store,
        transactions: Transactions,
        providers: Mapping[str, Provider],
        *,
        reconcile: bool,
    ) -> None:
        self._store, self._transactions = store, transactions
        self._providers, self._reconcile = providers, reconcile
        self._group = GroupCommitter(self._commit, GROUP)
        self.run = self._group.run

    async def receive(
        self, provider: str, ref: str, body: bytes, headers: dict[str, str]
    ) -> IntakeResult:
        """Apply one callback; when this returns, everything that follows from it is on disk."""
        callback = await in_thread_if_large(len(body), self._verified, provider, ref, body, headers)
        return await self._receive(callback)

    async def receive_for_account(
        self, provider: str, body: bytes, headers: dict[str, str]
    ) -> list[IntakeResult]:
        """Apply a callback at the URL of a whole account to the jobs of the tasks it is about.

        The task may be one whose submit has not been answered yet. Then the jobs that still wait
        for their answer are looked up a little later. Other tasks of the account are ignored.
        """
        found = await in_thread_if_large(len(body), self._verified, provider, "", body, headers)
        if found.reports is None:
            count_callback(provider, Verdict.UNREADABLE)
            return [IntakeResult(Verdict.UNREADABLE)]
        task_ids = sorted({report.task_id for report in found.reports if report.task_id})
        # Read in this order: a submit that is answered in between is in one of the two.
        unanswered = await self._store.jobs.unanswered_refs(provider)
        refs = await self._store.jobs.refs_of_tasks(provider, task_ids)
        if not refs and unanswered:
            refs = await self._look_up_later(unanswered, task_ids)
        if not refs:
            count_callback(provider, UNMATCHED)
            log.info("callback.unmatched", provider=provider, bytes=len(body))
        return [await self._receive(replace(found, ref=ref)) for ref in refs]

    async def _look_up_later(self, refs: Sequence[str], task_ids: Sequence[str]) -> list[str]:
        """Schedule a lookup of each job that still waits for the answer to its submit.

        Returns those of *refs* that were answered in the meantime, with one of *task_ids*. Where
        lookups are off, Unavailable asks the provider to send the callback again.
        """
        answered = []
        async with self._transactions.begin(refs) as uow:
            for job in filter(None, map(uow.job, refs)):
                if job.provider_task_id in task_ids:
                    answered.append(job.ref)
                elif job.status is Status.SUBMITTING:
                    if not self._reconcile:
                        raise Unavailable("A submit that this may be about is not answered yet.")
                    at = uow.at + UNMATCHED_GRACE
                    uow.save_silently(schedule_reconcile(job, ReconcileReason.EARLY, at))
        return answered

    async def _receive(self, callback: VerifiedCallback) -> IntakeResult:
        provider, ref, body = callback.provider, callback.ref, callback.body
        result = await self._group.put(callback)
        count_callback(provider, result.verdict)
        log.info(
            "callback.received",
            provider=provider,
            ref=ref,
            verdict=result.verdict,
            job=result.job_id,
            bytes=len(body),
        )
        return result

    async def replay(self, callback: Callback) -> Callback:
        """Apply a stored callback again; Conflict if only the start of its body was kept."""
        body = callback.body
        if len(body) >= UNREADABLE_BYTES_KEPT and callback.verdict is Verdict.UNREADABLE:
            raise Conflict("Only the first 64 KiB of this callback were kept.")
        verified = await in_thread_if_large(
            len(body), self._verified, callback.provider, callback.ref, body, callback.headers
        )
        async with self._transactions.begin([callback.ref]) as uow:
            job = uow.job(callback.ref)
            if job is not None:
                assessment = self._apply(job, verified, uow)
                callback = replace(
                    callback,
                    verdict=assessment.verdict,
                    reconcile_reason=assessment.reconcile_reason,
                    settled_at=None,
                    settlement=None,
                )
                uow.changes.reassessed.append(callback)
        return callback

    def _verified(
        self, provider: str, ref: str, body: bytes, headers: dict[str, str]
    ) -> VerifiedCallback:
        try:
            reports = self._providers[provider].read_callback(body, headers)
        except UnreadableJson:
            reports = None
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        return VerifiedCallback(
            provider=provider,
            ref=ref,
            body=body,
            headers=headers,
            digest=digest,
            reports=reports,
        )

    async def _commit(self, group: Sequence[VerifiedCallback]) -> Sequence[IntakeResult]:
        async with self._transactions.begin([one.ref for one in group]) as uow:
            results = [self._take_in(one, uow) for one in group]
        repeated = uow.changes.repeated_callbacks
        return [
            replace(one, verdict=Verdict.REPEATED)
            if one.callback_id in repeated and one.verdict is not Verdict.UNREADABLE
            else one
            for one in results
        ]

    def _take_in(self, verified: VerifiedCallback, uow: UnitOfWork) -> IntakeResult:
        """Apply one callback to its job; for a job that was deleted it is only late."""
        job = uow.job(verified.ref)
        if job is None:
            return IntakeResult(Verdict.LATE)
        assessment = self._apply(job, verified, uow)
        readable = assessment.verdict is not Verdict.UNREADABLE
        callback = Callback(
            id=uow.new_id("cb"),
            tenant=job.tenant,
            job_id=job.id,
            provider=verified.provider,
            ref=verified.ref,
            verdict=assessment.verdict,
            reconcile_reason=assessment.reconcile_reason,
            digest=verified.digest,
            body=verified.body if readable else verified.body[:UNREADABLE_BYTES_KEPT],
            received_at=uow.at,
            headers=verified.headers,
        )
        uow.changes.callbacks.append(callback)
        return IntakeResult(assessment.verdict, callback.id, job.id)

    def _apply(self, job: Job, verified: VerifiedCallback, uow: UnitOfWork) -> Assessment:
        assessment = assess(job, verified.ref, verified.reports, uow.at, self._can_look_up)
        for after in assessment.steps:
            job = uow.transition_step(job, after)
        if assessment.reconcile_reason:
            uow.save_silently(schedule_reconcile(job, assessment.reconcile_reason, uow.at))
        return assessment

    def _can_look_up(self, job: Job) -> bool:
        return self._reconcile and self._providers[job.provider].lookup(job, 0) is not None
