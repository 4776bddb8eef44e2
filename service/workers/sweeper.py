"""Looks at jobs when it is time: overdue ones, and those that something has cast doubt on."""

import asyncio
from typing import Final

import structlog

from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.runtime.clock import Clock
from service.runtime.tasks import GRACE_SECONDS, TaskSet
from service.runtime.wakeups import WakeupEvent
from service.transactions.change_set import CheckLease
from service.transactions.store_protocols import Store
from service.workers.reconciler import Reconciler

IDLE_SECONDS: Final = 1.0
GROUP: Final = 100
AT_ONCE: Final = 8
LEASE: Final = 120 * SECOND
"""Longer than all the reads of one job may take."""
log = structlog.get_logger()


class Sweeper:
    """Claims the jobs that are due for a look, and has each settled."""

    def __init__(self, store: Store, reconciler: Reconciler, clock: Clock) -> None:
        self._store, self._reconciler, self._clock = store, reconciler, clock
        self._wakeup = WakeupEvent()
        self._tasks = TaskSet()
        self._free = asyncio.Semaphore(AT_ONCE)

    def wake(self) -> None:
        """Look soon: a doubt has been raised."""
        self._wakeup.set()

    async def run(self) -> None:
        try:
            while True:
                self._wakeup.clear()
                try:
                    pause = 0.0 if await self.sweep() == GROUP else await self._pause()
                except Unavailable as exc:
                    log.warning("sweeper.waiting", reason=str(exc))
                    pause = IDLE_SECONDS
                await self._wakeup.wait(pause)
        finally:
            await self._tasks.finish(GRACE_SECONDS)

    async def _pause(self) -> float:
        due = await self._store.next_check(self._clock())
        left = IDLE_SECONDS if due is None else (due - self._clock()) / SECOND
        return min(max(left, 0.05), IDLE_SECONDS)

    async def sweep(self) -> int:
        """Claim one group of jobs, have them settled, and say how many there were."""
        at = self._clock()
        due = await self._store.claim_checks(at, at + LEASE, GROUP)
        for lease in due:
            self._tasks.spawn(self._settle(lease))
        return len(due)

    async def _settle(self, lease: CheckLease) -> None:
        """A store that is away only makes it late: the lease brings the job back."""
        async with self._free:
            try:
                await self._reconciler.settle(lease)
            except Unavailable as exc:
                log.warning("sweeper.waiting", reason=str(exc))
