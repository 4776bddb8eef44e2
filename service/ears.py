"""Ears for the other processes on the same database; what they say are hints, never the data."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from service.errors import Unavailable
from service.feed import Feed
from service.ports import Store, Topic

LOOK_SECONDS: Final = 1.0


class Ears:
    """Wakes who is concerned; looks at the log once a second, because a hint may be lost."""

    def __init__(
        self, store: Store, feed: Feed, concerned: Mapping[Topic, Callable[[], None]]
    ) -> None:
        self._store, self._feed, self._concerned = store, feed, concerned
        self._ended = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as ears:
            ears.create_task(self._store.follow(self._heard))
            ears.create_task(self._watch())
            ears.create_task(self._ring())

    def _heard(self, topics: frozenset[Topic]) -> None:
        for topic in topics:
            self._concerned[topic]()
        if Topic.EVENTS in topics:
            self._ended.set()

    async def _watch(self) -> None:
        """One look for all streams of this process; couriers and submitters look by themselves."""
        known = 0
        while True:
            try:
                last = await self._store.last_seq()
            except Unavailable:
                last = known
            if last != known:
                known = last
                self._feed.wake()
                self._ended.set()
            await asyncio.sleep(LOOK_SECONDS)

    async def _ring(self) -> None:
        """Ring for jobs that another process has ended: one query for all who wait here."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            if self._feed.awaited:
                try:
                    self._feed.ring(await self._store.ended_among(list(self._feed.awaited)))
                except Unavailable:
                    await asyncio.sleep(LOOK_SECONDS)
                    self._ended.set()
