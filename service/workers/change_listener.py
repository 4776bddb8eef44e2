"""Ears for the other processes on the same database; what they say are hints, never the data."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from service.domain.primitives.errors import Unavailable
from service.runtime.open_streams import OpenStreams
from service.runtime.wakeups import WakeupEvent, Wakeups
from service.transactions.store_protocols import ChangeTopic, Store

LOOK_SECONDS: Final = 1.0


class ChangeListener:
    """Wakes who is concerned; looks at the log once a second, because a hint may be lost."""

    def __init__(
        self,
        store: Store,
        wakeups: Wakeups,
        streams: OpenStreams,
        concerned: Mapping[ChangeTopic, Callable[[], None]],
    ) -> None:
        self._store, self._wakeups, self._streams, self._concerned = (
            store,
            wakeups,
            streams,
            concerned,
        )
        self._committed, self._ended = WakeupEvent(), asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as ears:
            ears.create_task(self._store.follow(self._heard))
            ears.create_task(self._watch())
            ears.create_task(self._ring())

    def _heard(self, topics: frozenset[ChangeTopic]) -> None:
        for topic in topics & self._concerned.keys():
            self._concerned[topic]()
        if ChangeTopic.EVENTS in topics:
            self._committed.set()
            self._ended.set()

    async def _watch(self) -> None:
        """One look for all streams of this process; couriers and submitters look by themselves."""
        known: int | None = None
        while True:
            self._committed.clear()
            try:
                known = await self._look(known)
            except Unavailable:
                known = None
            await self._committed.wait(LOOK_SECONDS)

    async def _look(self, known: int | None) -> int | None:
        """Wake the tenants with events after *known*, or all of them; the seq that is known then.

        It is None while nobody here follows or waits: then the log is not read at all.
        """
        if not self._streams.tenants and not self._wakeups.awaited_jobs:
            return None
        if known is None:
            known = await self._store.last_seq()
            self._wakeups.wake_tenants(self._streams.tenants)
            self._ended.set()
        elif found := await self._store.tenants_after(known):
            known = max(found.values())
            self._wakeups.wake_tenants(found)
            self._ended.set()
        return known

    async def _ring(self) -> None:
        """Ring for jobs that another process has ended: one query for all who wait here."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            if self._wakeups.awaited_jobs:
                try:
                    self._wakeups.wake_jobs(
                        await self._store.ended_among(list(self._wakeups.awaited_jobs))
                    )
                except Unavailable:
                    await asyncio.sleep(LOOK_SECONDS)
                    self._ended.set()
