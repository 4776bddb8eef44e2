"""Recoveries at work: step by step through the log, each durable, until the end or a cancel."""

from collections.abc import Callable
from typing import Final

import structlog

from service.domain.primitives.errors import Unavailable
from service.domain.primitives.ids import IdFactory
from service.domain.primitives.timestamps import SECOND
from service.runtime.clock import Clock
from service.runtime.wakeups import WakeupEvent
from service.transactions.store_protocols import Store

IDLE_SECONDS: Final = 2.0
LEASE: Final = 60 * SECOND
log = structlog.get_logger()


class RecoveryWorker:
    """Takes steps of whatever recovery is running; after a crash it goes on where it was."""

    def __init__(
        self, store: Store, clock: Clock, mint: IdFactory, recovered: Callable[[], None]
    ) -> None:
        self._store, self._clock, self._mint, self._recovered = store, clock, mint, recovered
        self._wakeup = WakeupEvent()

    def wake(self) -> None:
        """Look soon: an recovery has been asked for."""
        self._wakeup.set()

    async def run(self) -> None:
        while True:
            self._wakeup.clear()
            if not await self._step():
                await self._wakeup.wait(IDLE_SECONDS)

    async def _step(self) -> bool:
        """Take one step; False when nothing is running."""
        at = self._clock()
        try:
            recovery = await self._store.recover_step(at, at + LEASE, self._mint)
        except Unavailable as exc:
            log.warning("recovery.waiting", reason=str(exc))
            return False
        if recovery is None:
            return False
        self._recovered()
        if recovery.status == "done":
            log.info("recovery.done", recovery=recovery.id, sent_again=recovery.sent_again)
        return True
