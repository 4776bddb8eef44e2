"""The recovery worker: processes running recoveries step by step."""

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
    """Runs recoveries in durable steps: after a crash a recovery continues with its next step.

    *on_step* is called after each step, because deliveries have become pending.
    """

    def __init__(
        self, store: Store, clock: Clock, new_id: IdFactory, on_step: Callable[[], None]
    ) -> None:
        self._store, self._clock, self._new_id, self._on_step = store, clock, new_id, on_step
        self._wakeup = WakeupEvent()

    def wake(self) -> None:
        """Process soon: a recovery was created."""
        self._wakeup.set()

    async def run(self) -> None:
        while True:
            self._wakeup.clear()
            if not await self._step():
                await self._wakeup.wait(IDLE_SECONDS)

    async def _step(self) -> bool:
        """Process one step; False if no recovery is running."""
        at = self._clock()
        try:
            recovery = await self._store.recoveries.step(at, at + LEASE, self._new_id)
        except Unavailable as exc:
            log.warning("recovery.waiting", reason=str(exc))
            return False
        if recovery is None:
            return False
        self._on_step()
        if recovery.status == "done":
            log.info("recovery.done", recovery=recovery.id, sent_again=recovery.sent_again)
        return True
