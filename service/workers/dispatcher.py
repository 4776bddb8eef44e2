"""Events out: signs, POSTs, settles; each receiver has a lane of its own."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Final

import structlog

from service.domain.deliveries.delivery import LEASE, DeliveryStatus, Parcel
from service.domain.deliveries.retry_policy import (
    ATTEMPT_SECONDS,
    Outcome,
    Settlement,
    is_intermediate,
    settle,
)
from service.domain.deliveries.send_queue import Lane, SendQueues, Turns
from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.domain.security.webhook_signature import secret_bytes, webhook_signature
from service.domain.subscriptions.subscription import signing_secrets
from service.runtime.clients.webhook_client import Poster
from service.runtime.clock import Clock
from service.runtime.group_commit import Batches
from service.runtime.observability.metrics import ATTEMPT_TIME, ATTEMPTS
from service.runtime.secret_box import Vault
from service.runtime.tasks import GRACE_SECONDS, Hands
from service.runtime.wakeups import Nudge
from service.transactions.change_set import Changes
from service.transactions.store_protocols import Claim, Store

CLAIM: Final = 200
GROUP: Final = 256
IDLE_SECONDS: Final = 1.0
"""The longest pause between two looks at the store: a wake-up is only a hint."""
_MARGIN: Final = (ATTEMPT_SECONDS + 5) * SECOND
Settle = Callable[[Sequence[Settlement]], Awaitable[Changes]]
log = structlog.get_logger()


async def _settled_by_nobody(_: Sequence[Settlement]) -> Changes:
    raise Unavailable("Nobody settles yet.")


class Courier:
    """Carries what was just committed straight away, and claims the rest when it is due."""

    def __init__(
        self, store: Store, poster: Poster, vault: Vault, clock: Clock, queues: SendQueues
    ) -> None:
        self._store, self._poster, self._clock = store, poster, clock
        self._queues = queues
        self.settle: Settle = _settled_by_nobody
        self._turns = Turns()
        self._hands = Hands()
        self._settlements = Batches(self._commit, GROUP)
        self._nudge = Nudge()
        self._open = lru_cache(maxsize=10_000)(vault.open)
        self._key = lru_cache(maxsize=10_000)(lambda sealed: secret_bytes(vault.open(sealed)))

    def committed(self, changes: Changes) -> None:
        """Carry what was placed here (`SendQueues.place`); it is on disk, under our lease."""
        self._queues.drop(changes.superseded)
        taken = [parcel for parcel in changes.parcels if parcel.delivery.claims]
        if taken:
            self.hand_over(taken)
        if any(parcel.is_left for parcel in changes.parcels):
            self.look()

    def hand_over(self, parcels: Sequence[Parcel]) -> None:
        """Carry parcels under their lease; what may not be sent yet goes back to the store."""
        if refused := self._queues.put(parcels):
            self._hands.spawn(self._release(refused))
        self._staff()

    def look(self) -> None:
        """Look at the store soon: something in it may have become due."""
        self._nudge.give()

    def withdraw(self, subscription_id: str | None = None) -> None:
        """Give back what is not under way: the subscription, or one of all, has changed."""
        if left := self._queues.give_back(subscription_id):
            self._hands.spawn(self._release(left))
        self.look()

    async def run(self) -> None:
        """Carry until cancelled; then finish what is under way, for a few seconds at most."""
        self._queues.is_open = True
        settling = asyncio.create_task(self._settlements.run(), name="settlements")
        try:
            while True:
                await self._claim()
        finally:
            self._queues.is_open = False
            await self._release(self._queues.give_back())
            await self._hands.finish(GRACE_SECONDS)
            await self._release(self._queues.under_way)
            settling.cancel()

    async def _claim(self) -> None:
        """Claim what is due, then wait for a reason to look again."""
        self._nudge.forget()
        try:
            at = self._clock()
            claimed = await self._store.claim_deliveries(self._wanted(at))
            self.hand_over(claimed.parcels)
            pause = 0.0 if claimed.more else IDLE_SECONDS
            if pause and (due := await self._store.next_delivery_due()) and due > at:
                pause = min(pause, (due - self._clock()) / SECOND)
        except Unavailable as exc:
            log.warning("courier.waiting", reason=str(exc))
            pause = IDLE_SECONDS
        if pause > 0:
            await self._nudge.wait(pause)

    def _wanted(self, at: int) -> Claim:
        return Claim(
            at=at,
            lease_until=at + LEASE,
            limit=CLAIM,
            kept=list(self._queues.lanes),
            full=self._queues.full,
            turns=self._turns.put_off(at),
        )

    def _staff(self) -> None:
        """Begin as many POSTs as there is work and room for."""
        while (started := self._queues.start()) is not None:
            self._hands.spawn(self._carry_on(*started))

    async def _carry_on(self, lane: Lane, parcel: Parcel) -> None:
        """Carry *parcel*, then whatever is next, until there is none."""
        structlog.contextvars.clear_contextvars()  # of the request that happened to start this
        started: tuple[Lane, Parcel] | None = (lane, parcel)
        while started is not None:
            lane, parcel = started
            settled = await self._carried(parcel)
            left = self._queues.done(lane, parcel, settled=settled)
            if lane.turned_away and not lane.full:
                lane.turned_away = False
                self.look()
            started = self._queues.start()
            self._staff()
            await self._release(left)

    async def _carried(self, parcel: Parcel) -> bool:
        """Whatever goes wrong with one parcel, its lane goes on; the lease brings it back."""
        try:
            return await self._carry(parcel)
        except Exception:
            log.exception("delivery.failed", delivery=parcel.delivery.id)
            return False

    async def _carry(self, parcel: Parcel) -> bool:
        """POST and settle; True when the delivery is over, so that the next may follow."""
        delivery, turn = parcel.delivery, self._turns.take(parcel, self._clock())
        if delivery.due_at - turn < _MARGIN:
            return False  # its lease ends too soon: whoever claims it next will send it
        if (wait := turn - self._clock()) > 0:
            await asyncio.sleep(wait / SECOND)
        outcome = await self.post(parcel)
        jitter = random.uniform(-1, 1)  # noqa: S311 - spread, not secret
        settlement = settle(delivery, outcome, jitter, probe=parcel.probe)
        try:
            await self._settlements.put(settlement)
        except Unavailable:
            log.warning("delivery.unsettled", delivery=delivery.id)
            return False
        _log(settlement)
        over = settlement.delivery.status is not DeliveryStatus.PENDING
        if not over or (parcel.claimed and is_intermediate(delivery.type)):
            self.look()
        return over

    async def post(self, parcel: Parcel) -> Outcome:
        """Sign and POST once, whatever the state of the subscription."""
        at, subscription = self._clock(), parcel.subscription
        try:
            keys = [self._key(sealed) for sealed in signing_secrets(subscription, at)]
            own = {name: self._open(sealed) for name, sealed in subscription.headers.items()}
        except ValueError as exc:
            return Outcome(at=at, duration_ms=0, error=str(exc))
        event_id, timestamp = parcel.delivery.event_id, at // SECOND
        headers = {
            **own,
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(
                webhook_signature(key, event_id, timestamp, parcel.payload) for key in keys
            ),
        }
        return await self._poster.post(subscription.url, parcel.payload, headers)

    async def _commit(self, settlements: Sequence[Settlement]) -> Sequence[None]:
        changes = await self.settle(settlements)
        for subscription_id in changes.subscriptions:
            self.withdraw(subscription_id)
        return [None] * len(settlements)

    async def _release(self, parcels: Sequence[Parcel]) -> None:
        """Give parcels back, a few at a time; if even that fails, their lease ends by itself."""
        for start in range(0, len(parcels), CLAIM):
            some = [parcel.delivery for parcel in parcels[start : start + CLAIM]]
            try:
                await self._store.release(some, self._clock())
            except Unavailable:
                log.warning("delivery.unreleased", count=len(some))
            self.look()


def _log(settlement: Settlement) -> None:
    delivery, outcome = settlement.delivery, settlement.outcome
    ATTEMPTS.labels(delivery.status).inc()
    ATTEMPT_TIME.observe(outcome.duration_ms / 1000)
    log.info(
        "delivery.attempted",
        delivery=delivery.id,
        event_id=delivery.event_id,
        subscription=delivery.subscription_id,
        job=delivery.job_id,
        status_code=outcome.status_code,
        error=outcome.error,
        ms=outcome.duration_ms,
        status=delivery.status,
        tries=delivery.tries,
    )
