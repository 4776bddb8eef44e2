"""Tasks that are under way: held so that none is lost, and awaited when the process stops."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

GRACE_SECONDS: Final = 4.0
"""How long what is under way may take to end; with the server's own, less than ten seconds."""
T = TypeVar("T")
log = structlog.get_logger()


class Hands:
    """A set of tasks; one that fails is logged, because nobody else awaits it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("task.failed", exc_info=exc)

    async def finish(self, seconds: float) -> None:
        """Let what is under way end, and what follows from it; after *seconds* cancel the rest."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._tasks:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait(self._tasks, timeout=max(0, left))
            if left <= 0:
                break
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
