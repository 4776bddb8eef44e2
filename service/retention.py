"""Retention: what ended long ago is forgotten, a little at a time, so that nothing waits for it."""

import asyncio
from typing import Final

import structlog

from service.errors import Unavailable
from service.ports import Clock, Store
from service.times import DAY

BATCH: Final = 50
"""Jobs at a time: the writer is held for a few milliseconds."""
PAUSE_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 600.0
log = structlog.get_logger()


class Retention:
    """Forgets jobs, and all that belongs to them, *days* after they were made."""

    def __init__(self, store: Store, clock: Clock, days: int) -> None:
        self._store, self._clock, self._days = store, clock, days

    async def run(self) -> None:
        while True:
            forgotten = await self.sweep()
            await asyncio.sleep(PAUSE_SECONDS if forgotten == BATCH else IDLE_SECONDS)

    async def sweep(self) -> int:
        """Forget one batch, and say how many jobs it had."""
        try:
            forgotten = await self._store.forget(self._clock() - self._days * DAY, BATCH)
        except Unavailable as exc:
            log.warning("retention.waiting", reason=str(exc))
            return 0
        if forgotten:
            log.info("jobs.forgotten", count=forgotten)
        return forgotten
