"""The loops at work: started together, restarted when one dies, cancelled together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 8.0
"""The pause before a restart doubles from one to the other while a loop dies again and again."""
SOUND_SECONDS: Final = 60.0
"""A loop that has run this long begins with the first pause when it dies."""
Run = Callable[[], Awaitable[None]]
log = structlog.get_logger()


class Loops:
    """Runs named loops; *dead* names those that died and have not run again for a while."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Run) -> None:
        self._tasks.append(asyncio.create_task(self._keep(name, run), name=name))

    async def _keep(self, name: str, run: Run) -> None:
        """Restart it for ever; it is dead until it has run longer than it paused before."""
        loop, pause = asyncio.get_running_loop(), PAUSE_SECONDS
        while True:
            started = loop.time()
            alive = loop.call_later(pause, self.dead.discard, name)
            try:
                await run()
            except Exception:
                self.dead.add(name)
                log.exception("loop.died", loop=name)
            finally:
                alive.cancel()
            if loop.time() - started >= SOUND_SECONDS:
                pause = PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Cancel all at once, so that their times of grace do not add up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
