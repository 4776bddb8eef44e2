"""The reconciler: looks up jobs at their provider when a deadline or a contradiction asks for it.

It is the only code that reads a job's status from a provider, and in normal running it never does.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from service.domain.jobs.job import Job, ReconcileReason
from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.providers.protocol import Inconclusive, LookupResult, Reply
from service.runtime.clients.provider_client import ProviderChannel
from service.runtime.observability.metrics import LOOKUPS
from service.runtime.tasks import GRACE_SECONDS, TaskSet, in_thread_if_large
from service.runtime.wakeups import WakeupEvent
from service.transactions.change_set import CallbackResolution, ChangeSet, CheckLease
from service.transactions.reconciliation import NOT_ASKED, postponed, reason_of, reconcile
from service.transactions.store_protocols import Store
from service.transactions.unit_of_work import Transactions, UnitOfWork

IDLE_SECONDS: Final = 1.0
GROUP: Final = 100
"""Jobs that one claim leases at most."""
AT_ONCE: Final = 8
"""Jobs that are looked up at the same time."""
LEASE: Final = 120 * SECOND
"""Longer than all lookups of one job may take."""
LOOKUP_SECONDS: Final = 20.0
_TOO_MANY, _SERVER_ERROR = 429, 500
log = structlog.get_logger()


class CheckWakeup(WakeupEvent):
    """Wakes the reconciler if a job must be looked up."""

    def on_commit(self, changes: ChangeSet) -> None:
        if any(job.reconcile_reason for job in changes.jobs.values()):
            self.set()


class Reconciler:
    """Claims the jobs that are due for a check and decides each.

    With *lookups* off (BELFRY_RECONCILE=off) no provider is asked: the deadline alone decides.
    """

    def __init__(
        self,
        store: Store,
        transactions: Transactions,
        wakeup: CheckWakeup,
        channels: Mapping[str, ProviderChannel],
        *,
        lookups: bool,
    ) -> None:
        self._store, self._transactions, self._wakeup = store, transactions, wakeup
        self._channels, self._lookups = channels, lookups
        self._clock = transactions.clock
        self._tasks = TaskSet()
        self._free = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Check until cancelled; then let checks in progress end, for a few seconds at most."""
        try:
            while True:
                self._wakeup.clear()
                await self._wakeup.wait(await self._round())
        finally:
            await self._tasks.finish(GRACE_SECONDS)

    async def _round(self) -> float:
        """Start the checks that are due; returns the pause in seconds."""
        try:
            if await self.start_checks() == GROUP:
                return 0.0
            due = await self._store.jobs.next_check(self._clock())
        except Unavailable as exc:
            log.warning("reconciler.waiting", reason=str(exc))
            return IDLE_SECONDS
        pause = IDLE_SECONDS if due is None else (due - self._clock()) / SECOND
        return min(max(pause, 0.05), IDLE_SECONDS)

    async def start_checks(self) -> int:
        """Claim one group of jobs and start checking them; returns how many."""
        at = self._clock()
        leases = await self._store.jobs.claim_checks(at, at + LEASE, GROUP)
        for lease in leases:
            self._tasks.spawn(self._check_later(lease))
        return len(leases)

    async def _check_later(self, lease: CheckLease) -> None:
        async with self._free:
            try:
                await self.check(lease)
            except Unavailable as exc:  # it is due again when its lease ends
                log.warning("reconciler.waiting", reason=str(exc))

    async def check(self, lease: CheckLease) -> None:
        """Look up one job if that can help, store what follows, and end its lease."""
        job = lease.job
        may_ask = self._lookups or job.reconcile_reason is ReconcileReason.POLL
        found = await self._look_up(job) if may_ask else NOT_ASKED
        async with self._transactions.begin([job.ref]) as uow:
            uow.changes.finished_checks.append(lease)
            _apply(uow, job, found)
        log.info(
            "job.checked",
            job=job.id,
            ref=job.ref,
            provider=job.provider,
            reason=reason_of(job),
            finding="unanswered" if found is None else type(found).__name__.lower(),
            status=uow.changes.jobs.get(job.id, job).status,
        )

    async def _look_up(self, job: Job) -> LookupResult | None:
        """Make the provider's lookups until one is conclusive; None if the provider is down."""
        channel, step = self._channels[job.provider], 0
        found: LookupResult = NOT_ASKED
        while (call := channel.provider.lookup(job, step)) is not None:
            LOOKUPS.labels(reason_of(job)).inc()
            reply = await channel.client.send(call, LOOKUP_SECONDS)
            if not isinstance(reply, Reply):
                return None
            if reply.status == _TOO_MANY or reply.status >= _SERVER_ERROR:
                return None
            read, size = channel.provider.read_lookup, len(reply.body)
            found = await in_thread_if_large(size, read, reply, job, step)
            if not isinstance(found, Inconclusive):
                return found
            step += 1
        return found


def _apply(uow: UnitOfWork, checked: Job, found: LookupResult | None) -> None:
    """Apply a lookup, unless the job is no longer due for a check."""
    job = uow.job(checked.ref)
    if job is None or job.ref != checked.ref:
        return
    if job.next_check_at is None or job.next_check_at > uow.at:
        return
    if found is None:
        if later := postponed(job, uow.at):
            uow.save_silently(later)
            return
        found = Inconclusive(message="the provider did not answer")
    result = reconcile(job, found, uow.at)
    for after in result.steps:
        job = uow.transition_step(job, after)
    uow.changes.resolutions.append(
        CallbackResolution(job_id=job.id, at=uow.at, settlement=result.explanation)
    )
