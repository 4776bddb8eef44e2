"""Work on large texts in threads, so that the event loop goes on with everything else."""

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

LARGE: Final = 256 * 1024
"""Bytes from which a hand-over to a thread costs less than the stop of the loop: about 1 ms."""
P = ParamSpec("P")
T = TypeVar("T")


async def in_thread_if_large(
    size: int, function: Callable[P, T], *args: P.args, **named: P.kwargs
) -> T:
    """Call *function*, which works on *size* bytes: here, or in a thread where they are many."""
    if size < LARGE:
        return function(*args, **named)
    return await asyncio.to_thread(function, *args, **named)
