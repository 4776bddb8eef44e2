"""The one read that settles a doubt: counted, bounded, and never in normal running."""

from collections.abc import Mapping
from typing import Final

import structlog

from service.domain.jobs.job import Job
from service.providers.protocol import Inconclusive, LookupResult, Reply
from service.runtime.clients.provider_client import ProviderChannel
from service.runtime.observability.metrics import LOOKUPS
from service.runtime.tasks import in_thread_if_large
from service.transactions.change_set import CallbackResolution, CheckLease
from service.transactions.reconciliation import NOT_ASKED, postponed, reason_of, reconcile
from service.transactions.unit_of_work import Transactions, UnitOfWork

READ_SECONDS: Final = 20.0
_TOO_MANY, _SERVER_ERROR = 429, 500
log = structlog.get_logger()


class Reconciler:
    """Asks providers about jobs in doubt; where it may not, the clock alone decides."""

    def __init__(
        self, transactions: Transactions, channels: Mapping[str, ProviderChannel], *, enabled: bool
    ) -> None:
        self._transactions, self._channels, self._enabled = transactions, channels, enabled

    async def settle(self, lease: CheckLease) -> None:
        """Ask about a job if that can help, write what follows, and end its lease."""
        job = lease.job
        found = await self._ask(job) if self._enabled else NOT_ASKED

        def act(uow: UnitOfWork) -> None:
            uow.changes.finished_checks.append(lease)
            _apply(uow, job, found)

        changes = await self._transactions.change([job.ref], act)
        after = changes.jobs.get(job.id, job)
        log.info(
            "job.checked",
            job=job.id,
            ref=job.ref,
            provider=job.provider,
            reason=reason_of(job),
            found="unanswered" if found is None else type(found).__name__.lower(),
            status=after.status,
        )

    async def _ask(self, job: Job) -> LookupResult | None:
        """Make the reads that may settle it, until one does; None when the provider is away."""
        channel, step = self._channels[job.provider], 0
        found: LookupResult = NOT_ASKED
        while (call := channel.provider.lookup(job, step)) is not None:
            LOOKUPS.labels(reason_of(job)).inc()
            reply = await channel.client.send(call, READ_SECONDS)
            if not isinstance(reply, Reply) or _is_away(reply):
                return None
            read, size = channel.provider.read_lookup, len(reply.body)
            found = await in_thread_if_large(size, read, reply, job, step)
            if not isinstance(found, Inconclusive):
                return found
            step += 1
        return found


def _is_away(reply: Reply) -> bool:
    return reply.status == _TOO_MANY or reply.status >= _SERVER_ERROR


def _apply(uow: UnitOfWork, asked: Job, found: LookupResult | None) -> None:
    """Settle the doubt, unless something else has done so since the provider was asked."""
    job = uow.job(asked.ref)
    if job is None or job.ref != asked.ref or job.check_at is None or job.check_at > uow.at:
        return
    if found is None:
        if later := postponed(job, uow.at):
            uow.save_silently(later)
            return
        found = Inconclusive(message="the provider did not answer")
    settlement = reconcile(job, found, uow.at)
    for after in settlement.steps:
        job = uow.transition_step(job, after)
    uow.changes.resolutions.append(
        CallbackResolution(job_id=job.id, at=uow.at, settlement=settlement.explanation)
    )
