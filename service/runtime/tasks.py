"""Background work: tasks awaited at shutdown, loops restarted after a failure, threads."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

import structlog

GRACE_SECONDS: Final = 4.0
"""How long what is under way may take to end; with the server's own, less than ten seconds."""
T = TypeVar("T")
log = structlog.get_logger()


class TaskSet:
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


PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 8.0
"""The pause before a restart doubles from one to the other while a loop dies again and again."""
HEALTHY_SECONDS: Final = 60.0
"""A loop that has run this long begins with the first pause when it dies."""
Run = Callable[[], Awaitable[None]]


class Supervisor:
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
            if loop.time() - started >= HEALTHY_SECONDS:
                pause = PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Cancel all at once, so that their times of grace do not add up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


LARGE: Final = 256 * 1024
"""Bytes from which a hand-over to a thread costs less than the stop of the loop: about 1 ms."""
P = ParamSpec("P")


async def in_thread_if_large(
    size: int, function: Callable[P, T], *args: P.args, **named: P.kwargs
) -> T:
    """Call *function*, which works on *size* bytes: here, or in a thread where they are many."""
    if size < LARGE:
        return function(*args, **named)
    return await asyncio.to_thread(function, *args, **named)
