"""Wake-ups: tells those who wait that something was committed. A hint, never the data itself."""

import asyncio


class Feed:
    """Take a ticket, read the store, then wait on the ticket: a wake-up in between is not lost."""

    def __init__(self) -> None:
        self._count = 0
        self._closed = False
        self._change = asyncio.Event()

    @property
    def closed(self) -> bool:
        return self._closed

    def ticket(self) -> int:
        return self._count

    def wake(self) -> None:
        self._count += 1
        self._change.set()
        self._change = asyncio.Event()

    def close(self) -> None:
        """End every wait, now and later: the process is about to stop."""
        self._closed = True
        self.wake()

    async def wait(self, ticket: int, timeout_seconds: float | None = None) -> bool:
        """Wait for a wake-up since *ticket*; False when the time is over first."""
        if self._closed or self._count != ticket:
            return True
        change = self._change
        try:
            async with asyncio.timeout(timeout_seconds):
                await change.wait()
        except TimeoutError:
            return False
        return True
