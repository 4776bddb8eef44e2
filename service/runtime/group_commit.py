"""Group commit: items of several callers share one transaction, and each caller gets its result."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from service.domain.primitives.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


class GroupCommitter(Generic[T, R]):
    """Passes groups of at most *limit* items to *commit*, one group at a time.

    *commit* returns one result for each item, in the same order. When it fails, the items of the
    group are committed one by one, so that only the bad item fails. When it raises Unavailable,
    all items fail, also those that still wait: each of their groups would wait equally long.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Awaitable[Sequence[R]]], limit: int) -> None:
        self._commit, self._limit = commit, limit
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._retry_singly = 0  # how many of the first items belong to a group that failed
        self._not_empty = asyncio.Event()

    async def put(self, item: T) -> R:
        """Wait until *item* is committed; raises what *commit* raised for it."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._not_empty.set()
        return await future

    async def run(self) -> None:
        while True:
            await self._not_empty.wait()
            group = self._take(1 if self._retry_singly else self._limit)
            try:
                await self._commit_group(group)
            except BaseException:
                for _, future in group:
                    future.cancel()
                raise

    def _take(self, count: int) -> list[tuple[T, asyncio.Future[R]]]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._retry_singly = max(0, self._retry_singly - count)
        if not self._waiting:
            self._not_empty.clear()
        return taken

    async def _commit_group(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._commit([item for item, _ in group])
        except Unavailable as exc:
            _fail([*group, *self._take(len(self._waiting))], exc)
        except Exception as exc:  # noqa: BLE001 - its caller receives it
            if len(group) == 1:
                _fail(group, exc)
                return
            self._waiting[:0], self._retry_singly = group, len(group)
            self._not_empty.set()
        else:
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(group: Sequence[tuple[T, asyncio.Future[R]]], exc: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(exc)
