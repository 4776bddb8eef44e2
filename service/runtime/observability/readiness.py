"""The readiness probe of the store: one real write, whose result serves all probes for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from service.domain.primitives.errors import Unavailable

GOOD_SECONDS: Final = 2.0
"""How long a success is reused: each check costs a commit with its fsync."""
BAD_SECONDS: Final = 1.0
"""How long a failure is reused."""


class WriteCheck:
    """Calls *write* at most once at a time and reuses the result, by the *monotonic* clock."""

    def __init__(
        self,
        write: Callable[[], Awaitable[None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._monotonic = write, monotonic
        self._valid_until = 0.0
        self._task: asyncio.Task[str | None] | None = None

    async def problem(self) -> str | None:
        """Return the reason why the store cannot be written; None when it can."""
        if self._task is None or (self._task.done() and self._monotonic() >= self._valid_until):
            self._task = asyncio.create_task(self._check(), name="readiness")
        return await asyncio.shield(self._task)  # other probes await it when this one is cancelled

    async def _check(self) -> str | None:
        try:
            await self._write()
        except Unavailable as exc:
            self._valid_until = self._monotonic() + BAD_SECONDS
            return str(exc)
        self._valid_until = self._monotonic() + GOOD_SECONDS
        return None
