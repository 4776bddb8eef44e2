"""Group commit: whoever waits shares one transaction, and each is answered only after it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from service.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Hands items in groups to *commit*, which answers them in order; one group at a time.

    A group that fails is tried item by item, so that a bad one harms no other.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Awaitable[Sequence[R]]], limit: int) -> None:
        self._commit, self._limit = commit, limit
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
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
            group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            if not self._waiting:
                self._some.clear()
            try:
                await self._serve(group)
            except BaseException:
                for _, future in group:
                    future.cancel()
                raise

    async def _serve(self, group: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._commit([item for item, _ in group])
        except Exception as exc:  # noqa: BLE001 - every waiter is told, or tried alone
            await self._serve_singly(group, exc)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _serve_singly(
        self, group: Sequence[tuple[T, asyncio.Future[R]]], exc: Exception
    ) -> None:
        if len(group) > 1 and not isinstance(exc, Unavailable):
            for waiter in group:
                await self._serve([waiter])
            return
        for _, future in group:
            if not future.done():
                future.set_exception(exc)
