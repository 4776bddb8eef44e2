"""Group commit: whoever waits shares one transaction, and each is answered only after it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from service.domain.primitives.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


class GroupCommitter(Generic[T, R]):
    """Hands items in groups to *commit*, which answers them in order; one group at a time.

    A group that fails is tried item by item, so that a bad one harms no other. When the store is
    Unavailable all are told, also those that wait behind: each group of them would wait as long.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Awaitable[Sequence[R]]], limit: int) -> None:
        self._commit, self._limit = commit, limit
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._singly = 0  # how many of the first belong to a group that failed
        self._some = asyncio.Event()

    async def put(self, item: T) -> R:
        """Wait until *item* is committed, or raise what went wrong with it."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._some.set()
        return await future

    async def run(self) -> None:
        while True:
            await self._some.wait()
            group = self._take(1 if self._singly else self._limit)
            try:
                await self._serve(group)
            except BaseException:
                for _, future in group:
                    future.cancel()
                raise

    def _take(self, count: int) -> list[tuple[T, asyncio.Future[R]]]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._singly = max(0, self._singly - count)
        if not self._waiting:
            self._some.clear()
        return taken

    async def _serve(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._commit([item for item, _ in group])
        except Unavailable as exc:
            _fail([*group, *self._take(len(self._waiting))], exc)
        except Exception as exc:  # noqa: BLE001 - its waiter is told
            if len(group) == 1:
                _fail(group, exc)
                return
            self._waiting[:0], self._singly = group, len(group)
            self._some.set()
        else:
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(group: Sequence[tuple[T, asyncio.Future[R]]], exc: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(exc)
