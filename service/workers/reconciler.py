"""The one read that settles a doubt: counted, bounded, and never in normal running."""

from collections.abc import Mapping
from typing import Final

import structlog

from service.domain.jobs.job import Job
from service.providers.protocol import Finding, Reply, Unknown
from service.runtime.clients.provider_client import Line
from service.runtime.observability.metrics import READS
from service.runtime.tasks import in_thread_if_large
from service.transactions.change_set import CheckLease, Settled
from service.transactions.reconciliation import NOT_ASKED, postponed, reason_of, settle
from service.transactions.unit_of_work import Mover, Moves

READ_SECONDS: Final = 20.0
_TOO_MANY, _SERVER_ERROR = 429, 500
log = structlog.get_logger()


class Reconciler:
    """Asks providers about jobs in doubt; where it may not, the clock alone decides."""

    def __init__(self, mover: Mover, lines: Mapping[str, Line], *, enabled: bool) -> None:
        self._mover, self._lines, self._enabled = mover, lines, enabled

    async def settle(self, lease: CheckLease) -> None:
        """Ask about a job if that can help, write what follows, and end its lease."""
        job = lease.job
        finding = await self._ask(job) if self._enabled else NOT_ASKED

        def act(moves: Moves) -> None:
            moves.changes.checked.append(lease)
            _apply(moves, job, finding)

        changes = await self._mover.change([job.ref], act)
        after = changes.jobs.get(job.id, job)
        log.info(
            "job.checked",
            job=job.id,
            ref=job.ref,
            provider=job.provider,
            reason=reason_of(job),
            finding="unanswered" if finding is None else type(finding).__name__.lower(),
            status=after.status,
        )

    async def _ask(self, job: Job) -> Finding | None:
        """Make the reads that may settle it, until one does; None when the provider is away."""
        line, step = self._lines[job.provider], 0
        finding: Finding = NOT_ASKED
        while (call := line.provider.look_up(job, step)) is not None:
            READS.labels(reason_of(job)).inc()
            reply = await line.client.send(call, READ_SECONDS)
            if not isinstance(reply, Reply) or _is_away(reply):
                return None
            read, size = line.provider.read_look_up, len(reply.body)
            finding = await in_thread_if_large(size, read, reply, job, step)
            if not isinstance(finding, Unknown):
                return finding
            step += 1
        return finding


def _is_away(reply: Reply) -> bool:
    return reply.status == _TOO_MANY or reply.status >= _SERVER_ERROR


def _apply(moves: Moves, asked: Job, finding: Finding | None) -> None:
    """Settle the doubt, unless something else has done so since the provider was asked."""
    job = moves.job(asked.ref)
    if job is None or job.ref != asked.ref or job.check_at is None or job.check_at > moves.at:
        return
    if finding is None:
        if later := postponed(job, moves.at):
            moves.keep(later)
            return
        finding = Unknown(message="the provider did not answer")
    settlement = settle(job, finding, moves.at)
    for after in settlement.steps:
        job = moves.follow(job, after)
    moves.changes.settled.append(Settled(job_id=job.id, at=moves.at, settlement=settlement.words))
