"""The pruner: deletes old jobs and everything that belongs to them, in small batches."""

import asyncio
from typing import Final

import structlog

from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import DAY
from service.runtime.clock import Clock
from service.transactions.store_protocols import Store

BATCH: Final = 50
"""Jobs per transaction, so that callbacks wait a few milliseconds at most."""
PAUSE_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 600.0
log = structlog.get_logger()


class Pruner:
    """Deletes jobs *days* after they were created, if they have ended and nothing is pending."""

    def __init__(self, store: Store, clock: Clock, days: int, batch: int = BATCH) -> None:
        self._store, self._clock, self._days, self._batch = store, clock, days, batch
        self._after = ""

    async def run(self) -> None:
        while True:
            await self.prune_batch()
            await asyncio.sleep(PAUSE_SECONDS if self._after else IDLE_SECONDS)

    async def prune_batch(self) -> int:
        """Look at the next batch; returns how many jobs were deleted."""
        before = self._clock() - self._days * DAY
        try:
            count, self._after = await self._store.retention.prune(before, self._batch, self._after)
        except Unavailable as exc:
            log.warning("pruner.waiting", reason=str(exc))
            return 0
        if count:
            log.info("jobs.deleted", count=count)
        return count
