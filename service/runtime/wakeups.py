"""Wake-ups: tells those who wait that something was committed. A hint, never the data itself."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager


class WakeupEvent:
    """Wakes a loop before its time; one that comes while it is at work is not lost."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    @property
    def is_set(self) -> bool:
        return self._given.is_set()

    def set(self) -> None:
        self._given.set()

    def clear(self) -> None:
        """Call it before looking at what the nudges are about."""
        self._given.clear()

    async def wait(self, seconds: float) -> None:
        """Wait for a nudge since it was last forgotten, *seconds* at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._given.wait()
        except TimeoutError:
            return


Wakeup = asyncio.Event
"""Set by the first wake-up of its tenant after it was taken."""


class Wakeups:
    """Take a ticket, read the store, then wait on the ticket: a wake-up in between is not lost."""

    def __init__(self) -> None:
        self._closed = False
        self._tickets: dict[str, Wakeup] = {}
        self._bells: dict[str, set[asyncio.Event]] = {}

    @property
    def closed(self) -> bool:
        return self._closed

    def next_wakeup(self, tenant: str) -> Wakeup:
        """Give the ticket that the next wake-up of *tenant* sets."""
        ticket = self._tickets.setdefault(tenant, Wakeup())
        if self._closed:
            ticket.set()
        return ticket

    def wake_tenants(self, tenants: Iterable[str]) -> None:
        """Set the tickets of *tenants*: something was committed for them."""
        for tenant in tenants:
            if ticket := self._tickets.pop(tenant, None):
                ticket.set()

    def close(self) -> None:
        """End every wait, now and later: the process is about to stop."""
        self._closed = True
        self.wake_tenants(list(self._tickets))
        self.jobs_ended(list(self._bells))

    @property
    def awaited_jobs(self) -> Collection[str]:
        """The jobs whose end somebody waits for."""
        return self._bells.keys()

    def jobs_ended(self, job_ids: Iterable[str]) -> None:
        """Tell those who wait for these jobs that they have ended."""
        for job_id in job_ids:
            for bell in self._bells.get(job_id, ()):
                bell.set()

    @contextmanager
    def job_end(self, job_id: str) -> Iterator[asyncio.Event]:
        """Lend a bell that rings when the job ends; as with a ticket, take it before you read."""
        bell = asyncio.Event()
        self._bells.setdefault(job_id, set()).add(bell)
        if self._closed:
            bell.set()
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]

    async def wait(self, ticket: Wakeup, timeout_seconds: float | None = None) -> bool:
        """Wait for a wake-up since *ticket* was taken; False when the time is over first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await ticket.wait()
        except TimeoutError:
            return False
        return True
