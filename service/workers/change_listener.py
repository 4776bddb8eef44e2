"""The change listener: wakes this process for what other processes commit (PostgreSQL)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from service.domain.primitives.errors import Unavailable
from service.runtime.open_streams import OpenStreams
from service.runtime.wakeups import WakeupEvent, Wakeups
from service.transactions.store_protocols import ChangeTopic, Store

POLL_SECONDS: Final = 1.0
"""How often the event log is read, because notifications may be lost."""


class ChangeListener:
    """Calls *on_topic* for each notification, and wakes streams and waiting requests.

    Notifications only say that something changed; the data is read from the store.
    """

    def __init__(
        self,
        store: Store,
        wakeups: Wakeups,
        streams: OpenStreams,
        on_topic: Mapping[ChangeTopic, Callable[[], None]],
    ) -> None:
        self._store, self._wakeups = store, wakeups
        self._streams, self._on_topic = streams, on_topic
        self._new_events, self._jobs_ended = WakeupEvent(), asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store.follow(self._on_change))
            group.create_task(self._wake_streams())
            group.create_task(self._report_ended_jobs())

    def _on_change(self, topics: frozenset[ChangeTopic]) -> None:
        for topic in topics & self._on_topic.keys():
            self._on_topic[topic]()
        if ChangeTopic.EVENTS in topics:
            self._new_events.set()
            self._jobs_ended.set()

    async def _wake_streams(self) -> None:
        """Read the log once for all streams of this process."""
        last_seq: int | None = None
        while True:
            self._new_events.clear()
            try:
                last_seq = await self._wake_tenants_after(last_seq)
            except Unavailable:
                last_seq = None
            await self._new_events.wait(POLL_SECONDS)

    async def _wake_tenants_after(self, last_seq: int | None) -> int | None:
        """Wake the tenants with events after *last_seq* (None: all); returns the new last one.

        Returns None, and reads nothing, while no stream is open and no request waits for a job.
        """
        if not self._streams.tenants and not self._wakeups.awaited_jobs:
            return None
        if last_seq is None:
            last_seq = await self._store.events.last_seq()
            self._wakeups.wake_tenants(self._streams.tenants)
            self._jobs_ended.set()
        elif found := await self._store.events.tenants_after(last_seq):
            last_seq = max(found.values())
            self._wakeups.wake_tenants(found)
            self._jobs_ended.set()
        return last_seq

    async def _report_ended_jobs(self) -> None:
        """Report jobs that another process has ended: one query for all waiting requests."""
        while True:
            await self._jobs_ended.wait()
            self._jobs_ended.clear()
            if awaited := list(self._wakeups.awaited_jobs):
                try:
                    self._wakeups.wake_jobs(await self._store.jobs.ended(awaited))
                except Unavailable:
                    await asyncio.sleep(POLL_SECONDS)
                    self._jobs_ended.set()
