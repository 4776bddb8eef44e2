"""Wake-ups tell waiting tasks that something was committed; the data itself is in the store."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager


class WakeupEvent:
    """Ends the pause of a loop early; a wake-up during the loop's work is kept for its next wait.

    A loop calls `clear`, then looks for work, then calls `wait`.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        """Forget earlier wake-ups; call it before the loop looks for work."""
        self._event.clear()

    async def wait(self, seconds: float) -> None:
        """Wait for a wake-up since `clear`, at most *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return


Wakeup = asyncio.Event
"""Set once, by the first wake-up of its tenant after `next_wakeup` returned it."""


class Wakeups:
    """Wakes the streams of tenants and the requests that wait for the end of a job.

    Ask for the wake-up first, then read the store, then wait: no commit in between is missed.
    """

    def __init__(self) -> None:
        self._closed = False
        self._by_tenant: dict[str, Wakeup] = {}
        self._by_job: dict[str, set[asyncio.Event]] = {}

    @property
    def closed(self) -> bool:
        return self._closed

    def next_wakeup(self, tenant: str) -> Wakeup:
        """Return the event that the next wake-up of *tenant* sets."""
        wakeup = self._by_tenant.setdefault(tenant, Wakeup())
        if self._closed:
            wakeup.set()
        return wakeup

    def wake_tenants(self, tenants: Iterable[str]) -> None:
        """Wake the streams of *tenants*: events were committed for them."""
        for tenant in tenants:
            if wakeup := self._by_tenant.pop(tenant, None):
                wakeup.set()

    async def wait(self, wakeup: Wakeup, timeout_seconds: float | None = None) -> bool:
        """Wait until *wakeup* is set; False when *timeout_seconds* pass first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await wakeup.wait()
        except TimeoutError:
            return False
        return True

    @property
    def awaited_jobs(self) -> Collection[str]:
        """The ids of the jobs whose end is waited for."""
        return self._by_job.keys()

    def wake_jobs(self, job_ids: Iterable[str]) -> None:
        """Wake the requests that wait for these jobs: the jobs have ended."""
        for job_id in job_ids:
            for ended in self._by_job.get(job_id, ()):
                ended.set()

    @contextmanager
    def watch_job_end(self, job_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the job ends; enter this before reading the job."""
        ended = asyncio.Event()
        self._by_job.setdefault(job_id, set()).add(ended)
        if self._closed:
            ended.set()
        try:
            yield ended
        finally:
            self._by_job[job_id].discard(ended)
            if not self._by_job[job_id]:
                del self._by_job[job_id]

    def close(self) -> None:
        """End all waits, current and future: the process is stopping."""
        self._closed = True
        self.wake_tenants(list(self._by_tenant))
        self.wake_jobs(list(self._by_job))
