"""Retention: what ended long ago is forgotten, a little at a time, so that nothing waits for it."""

import asyncio
from typing import Final

import structlog

from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import DAY
from service.runtime.clock import Clock
from service.transactions.store_protocols import Store

BATCH: Final = 50
"""Jobs at a time: the writer is held for a few milliseconds."""
PAUSE_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 600.0
log = structlog.get_logger()


class Pruner:
    """Forgets jobs, and all that belongs to them, *days* after they were made."""

    def __init__(self, store: Store, clock: Clock, days: int) -> None:
        self._store, self._clock, self._days = store, clock, days
        self._after = ""

    async def run(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(PAUSE_SECONDS if self._after else IDLE_SECONDS)

    async def sweep(self) -> int:
        """Look at the next few jobs, and say how many were forgotten."""
        before = self._clock() - self._days * DAY
        try:
            count, self._after = await self._store.forget(before, BATCH, self._after)
        except Unavailable as exc:
            log.warning("retention.waiting", reason=str(exc))
            return 0
        if count:
            log.info("jobs.forgotten", count=count)
        return count
