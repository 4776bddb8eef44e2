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

    async def run(self) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self._store.follow(self._heard))
            both.create_task(self._watch())

    def _heard(self, topics: frozenset[Topic]) -> None:
        for topic in topics:
            self._concerned[topic]()

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
            await asyncio.sleep(LOOK_SECONDS)
