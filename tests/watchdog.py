"""An event loop that notes when it was kept busy: what blocks it blocks every request."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

LIMIT_SECONDS: Final = 0.1
SHOWN: Final = 5


class Turn(msgspec.Struct, frozen=True):
    """One turn of a loop: the CPU time of its thread in seconds, and what it ran, longest first."""

    seconds: float
    ran: list[tuple[float, str]]

    def __str__(self) -> str:
        longest = "\n".join(f"  {took * 1000:.0f} ms {name}" for took, name in self.ran[:SHOWN])
        return f"{self.seconds * 1000:.0f} ms between two turns:\n{longest}"


LONG: Final[list[Turn]] = []
"""The turns over the limit since the list was emptied."""


_running: Final[list[None]] = []


@contextmanager
def watched() -> Iterator[None]:
    """Note long turns meanwhile: to start a service takes longer, with its imports and TLS."""
    _running.append(None)
    try:
        yield
    finally:
        _running.pop()


class _Ready(deque[asyncio.Handle]):
    """The loop's queue of callbacks; it is asked for each just before it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[float, asyncio.Handle]] = []

    def popleft(self) -> asyncio.Handle:
        handle = super().popleft()
        self.taken.append((time.thread_time(), handle))
        return handle


class WatchedLoop(asyncio.SelectorEventLoop):
    """Measures each turn by the CPU time of its thread, which other processes do not lengthen."""

    def __init__(self) -> None:
        super().__init__()
        self._ready = _Ready()

    def _run_once(self) -> None:
        self._ready.taken.clear()
        counts, start = bool(_running), time.thread_time()
        super()._run_once()  # type: ignore[misc]  # the stubs leave out what is private
        end = time.thread_time()
        if counts and end - start > LIMIT_SECONDS:
            LONG.append(Turn(end - start, _longest(self._ready.taken, end)))


def _longest(taken: list[tuple[float, asyncio.Handle]], end: float) -> list[tuple[float, str]]:
    ends = [*(start for start, _ in taken[1:]), end]
    ran = [
        (stop - start, _name(handle)) for (start, handle), stop in zip(taken, ends, strict=False)
    ]
    return sorted(ran, reverse=True)


def _name(handle: asyncio.Handle) -> str:
    """Name the task behind a callback, and where it waits now."""
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    return repr(task if isinstance(task, asyncio.Task) else handle)
