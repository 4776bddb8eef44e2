"""Background work: tasks awaited at shutdown, loops restarted after a failure, threads."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

import structlog

GRACE_SECONDS: Final = 4.0
"""How long running tasks may take to end at shutdown.

Together with the HTTP server's own grace period this stays below ten seconds.
"""
T = TypeVar("T")
log = structlog.get_logger()


class TaskSet:
    """Holds background tasks; the failure of a task is logged, because no caller awaits it."""

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
        """Await all tasks, also those that they spawn; cancel the rest after *seconds*."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._tasks:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait(self._tasks, timeout=max(0, left))
            if left <= 0:
                break
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 8.0
HEALTHY_SECONDS: Final = 60.0
Run = Callable[[], Awaitable[None]]


class Supervisor:
    """Runs named loops and restarts those that fail.

    The pause before a restart begins with *first_pause_seconds* and doubles with each failure, up
    to *max_pause_seconds*. It begins anew after a run of *healthy_seconds*. *dead* names the loops
    that failed and since then have not run for as long as their last pause.
    """

    def __init__(
        self,
        *,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        max_pause_seconds: float = MAX_PAUSE_SECONDS,
        healthy_seconds: float = HEALTHY_SECONDS,
    ) -> None:
        self._first_pause = first_pause_seconds
        self._max_pause = max_pause_seconds
        self._healthy_seconds = healthy_seconds
        self.dead: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Run) -> None:
        self._tasks.append(asyncio.create_task(self._supervise(name, run), name=name))

    async def _supervise(self, name: str, run: Run) -> None:
        loop, pause = asyncio.get_running_loop(), self._first_pause
        while True:
            started = loop.time()
            recovery = loop.call_later(pause, self.dead.discard, name)
            try:
                await run()
            except Exception:
                self.dead.add(name)
                log.exception("loop.died", loop=name)
            finally:
                recovery.cancel()
            if loop.time() - started >= self._healthy_seconds:
                pause = self._first_pause
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._max_pause)

    async def stop(self) -> None:
        """Cancel all loops at the same time, so that their grace periods do not add up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


LARGE_BYTES: Final = 256 * 1024
"""From this size on, work would block the event loop for 1 ms or more; a thread costs less."""
P = ParamSpec("P")


async def in_thread_if_large(
    size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call *function*, which processes *size* bytes; in a thread from `LARGE_BYTES` on."""
    if size < LARGE_BYTES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
