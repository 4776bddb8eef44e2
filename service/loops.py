"""The loops at work: started together, restarted when one dies, cancelled together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

PAUSE_SECONDS: Final = 1.0
Run = Callable[[], Awaitable[None]]
log = structlog.get_logger()


class Loops:
    """Runs named loops; *dead* names those that have died and are not running again yet."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Run) -> None:
        self._tasks.append(asyncio.create_task(self._keep(name, run), name=name))

    async def _keep(self, name: str, run: Run) -> None:
        while True:
            try:
                await run()
            except Exception:
                self.dead.add(name)
                log.exception("loop.died", loop=name)
            await asyncio.sleep(PAUSE_SECONDS)
            self.dead.discard(name)

    async def stop(self) -> None:
        """Cancel all at once, so that their times of grace do not add up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
