"""An event loop that records turns that block it, because they delay every request."""

import asyncio
import gc
import inspect
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

import msgspec

LIMIT_SECONDS: Final = 0.1 if sys.gettrace() is None else 0.2
"""CPU time of one turn of the loop; measuring coverage takes about as much again."""
SHOWN: Final = 5


class Turn(msgspec.Struct, frozen=True):
    """One turn of a loop: CPU time of its thread in seconds, and its callbacks, longest first."""

    seconds: float
    ran: list[tuple[float, str]]

    def __str__(self) -> str:
        longest = "\n".join(f"  {took * 1000:.0f} ms {name}" for took, name in self.ran[:SHOWN])
        return f"{self.seconds * 1000:.0f} ms between two turns:\n{longest}"


LONG: Final[list[Turn]] = []
"""The turns over the limit since a test cleared the list."""


class _Watch:
    """Which time counts: that of running services, without their start and full collections."""

    def __init__(self) -> None:
        self.services, self.starting, self.excused = 0, 0, False
        self.collecting = 0.0
        """CPU time of full garbage collections, which scan the objects of all earlier tests."""

    def collected(self, phase: str, info: dict[str, int]) -> None:
        in_loop = threading.current_thread() is threading.main_thread()
        if in_loop and info["generation"] == _OLDEST:
            self.collecting += time.thread_time() * (1 if phase == "stop" else -1)


_OLDEST: Final = 2
_watch: Final = _Watch()
gc.callbacks.append(_watch.collected)


@contextmanager
def watched() -> Iterator[None]:
    """Record long turns inside the block."""
    _watch.services += 1
    try:
        yield
    finally:
        _watch.services -= 1


@contextmanager
def unwatched() -> Iterator[None]:
    """Record no turns inside the block: starting a service is slow (imports, certificates)."""
    _watch.starting += 1
    _watch.excused = True
    try:
        yield
    finally:
        _watch.starting -= 1


class _Ready(deque[asyncio.Handle]):
    """The loop's queue of callbacks; records when each is taken, just before it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[float, asyncio.Handle]] = []

    def popleft(self) -> asyncio.Handle:
        handle = super().popleft()
        self.taken.append((time.thread_time(), handle))
        return handle


class WatchedLoop(asyncio.SelectorEventLoop):
    """Measures turns by the CPU time of its thread, which does not depend on other processes."""

    def __init__(self) -> None:
        super().__init__()
        self._ready = _Ready()

    def _run_once(self) -> None:
        self._ready.taken.clear()
        _watch.collecting, _watch.excused = 0.0, _watch.starting > 0 or not _watch.services
        start = time.thread_time()
        super()._run_once()  # type: ignore[misc]  # private, so not in the stubs
        end = time.thread_time()
        took = end - start - _watch.collecting
        if took > LIMIT_SECONDS and not _watch.excused:
            LONG.append(Turn(took, _longest(self._ready.taken, end)))


def _longest(taken: list[tuple[float, asyncio.Handle]], end: float) -> list[tuple[float, str]]:
    ends = [*(start for start, _ in taken[1:]), end]
    ran = [
        (stop - start, _name(handle)) for (start, handle), stop in zip(taken, ends, strict=False)
    ]
    return sorted(ran, reverse=True)


def _name(handle: asyncio.Handle) -> str:
    """The name of the task behind a callback, and the coroutines in which it is suspended."""
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    if not isinstance(task, asyncio.Task):
        return repr(handle)
    chain, coroutine = [task.get_name()], cast("object", task.get_coro())
    while inspect.iscoroutine(coroutine):
        chain.append(coroutine.__qualname__)
        coroutine = coroutine.cr_await
    return " > ".join(chain)
