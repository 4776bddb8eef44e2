"""Deadlines: a job whose provider was not heard of in time ends as `expired`."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from service.errors import Unavailable
from service.jobs import Code, JobError, Stage, Status, ended
from service.moves import Mover, Moves
from service.ports import Clock, Store
from service.times import SECOND

IDLE_SECONDS: Final = 5.0
GROUP: Final = 100
_OVERDUE: Final = JobError(
    code=Code.TIMED_OUT,
    message="The provider was not heard of until the deadline.",
    retryable=True,
    stage=Stage.TIMEOUT,
)
log = structlog.get_logger()


class Sweeper:
    """Ends what is overdue. The provider's later word still replaces this verdict."""

    def __init__(self, store: Store, mover: Mover, clock: Clock) -> None:
        self._store, self._mover, self._clock = store, mover, clock

    async def run(self) -> None:
        while True:
            try:
                swept = await self.sweep()
                pause = 0.0 if swept == GROUP else await self._pause()
            except Unavailable as exc:
                log.warning("sweeper.waiting", reason=str(exc))
                pause = IDLE_SECONDS
            await asyncio.sleep(pause)

    async def _pause(self) -> float:
        due = await self._store.next_deadline()
        left = IDLE_SECONDS if due is None else (due - self._clock()) / SECOND
        return min(max(left, 0.05), IDLE_SECONDS)

    async def sweep(self) -> int:
        """Expire one group of overdue jobs, and say how many there were."""
        overdue = await self._store.jobs_overdue(self._clock(), GROUP)
        refs = [job.ref for job in overdue]
        if refs:
            await self._mover.change(refs, lambda moves: _expire(refs, moves))
        return len(refs)


def _expire(refs: Sequence[str], moves: Moves) -> None:
    """A callback may have come since the look: what is no longer overdue is left alone."""
    for ref in refs:
        job = moves.job(ref)
        if job and not job.ended and job.deadline_at is not None and job.deadline_at <= moves.at:
            moves.move(job, ended(job, Status.EXPIRED, _OVERDUE, moves.at))
            log.info("job.expired", job=job.id, ref=job.ref, provider=job.provider)
