"""Events out: signs, POSTs, settles; each receiver has a lane of its own."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Final

import structlog

from service.domain.deliveries.delivery import LEASE, DeliveryStatus, DeliveryTask
from service.domain.deliveries.retry_policy import (
    ATTEMPT_SECONDS,
    AttemptResult,
    DeliveryUpdate,
    after_attempt,
    is_intermediate,
)
from service.domain.deliveries.send_queue import ReceiverQueue, SendPacer, SendQueues
from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.domain.security.webhook_signature import secret_bytes, webhook_signature
from service.domain.subscriptions.subscription import signing_secrets
from service.runtime.clients.webhook_client import WebhookClient
from service.runtime.clock import Clock
from service.runtime.group_commit import GroupCommitter
from service.runtime.observability.metrics import ATTEMPT_TIME, ATTEMPTS
from service.runtime.secret_box import SecretBox
from service.runtime.tasks import GRACE_SECONDS, TaskSet
from service.runtime.wakeups import WakeupEvent
from service.transactions.change_set import ChangeSet
from service.transactions.store_protocols import ClaimRequest, Store

CLAIM: Final = 200
GROUP: Final = 256
IDLE_SECONDS: Final = 1.0
"""The longest pause between two looks at the store: a wake-up is only a hint."""
_MARGIN: Final = (ATTEMPT_SECONDS + 5) * SECOND
Settle = Callable[[Sequence[DeliveryUpdate]], Awaitable[ChangeSet]]
log = structlog.get_logger()


async def _settled_by_nobody(_: Sequence[DeliveryUpdate]) -> ChangeSet:
    raise Unavailable("Nobody settles yet.")


class Dispatcher:
    """Carries what was just committed straight away, and claims the rest when it is due."""

    def __init__(
        self,
        store: Store,
        webhook_client: WebhookClient,
        secret_box: SecretBox,
        clock: Clock,
        queues: SendQueues,
    ) -> None:
        self._store, self._client, self._clock = store, webhook_client, clock
        self._queues = queues
        self.settle: Settle = _settled_by_nobody
        self._pacer = SendPacer()
        self._tasks = TaskSet()
        self._updates = GroupCommitter(self._commit, GROUP)
        self._wakeup = WakeupEvent()
        self._open = lru_cache(maxsize=10_000)(secret_box.open)
        self._key = lru_cache(maxsize=10_000)(lambda sealed: secret_bytes(secret_box.open(sealed)))

    def on_commit(self, changes: ChangeSet) -> None:
        """Carry what was placed here (`SendQueues.place`); it is on disk, under our lease."""
        self._queues.drop(changes.superseded)
        taken = [task for task in changes.delivery_tasks if task.delivery.claims]
        if taken:
            self.enqueue(taken)
        if any(task.is_queued for task in changes.delivery_tasks):
            self.wake()

    def enqueue(self, tasks: Sequence[DeliveryTask]) -> None:
        """Carry parcels under their lease; what may not be sent yet goes back to the store."""
        if refused := self._queues.put(tasks):
            self._tasks.spawn(self._release(refused))
        self._start_workers()

    def wake(self) -> None:
        """Look at the store soon: something in it may have become due."""
        self._wakeup.set()

    def release_queued(self, subscription_id: str | None = None) -> None:
        """Give back what is not under way: the subscription, or one of all, has changed."""
        if left := self._queues.release(subscription_id):
            self._tasks.spawn(self._release(left))
        self.wake()

    async def run(self) -> None:
        """Carry until cancelled; then finish what is under way, for a few seconds at most."""
        self._queues.is_open = True
        settling = asyncio.create_task(self._updates.run(), name="settlements")
        try:
            while True:
                await self._claim()
        finally:
            self._queues.is_open = False
            await self._release(self._queues.release())
            await self._tasks.finish(GRACE_SECONDS)
            await self._release(self._queues.in_flight)
            settling.cancel()

    async def _claim(self) -> None:
        """Claim what is due, then wait for a reason to look again."""
        self._wakeup.clear()
        try:
            at = self._clock()
            claimed = await self._store.claim_deliveries(self._claim_request(at))
            self.enqueue(claimed.tasks)
            pause = 0.0 if claimed.more else IDLE_SECONDS
            if pause and (due := await self._store.next_delivery_due()) and due > at:
                pause = min(pause, (due - self._clock()) / SECOND)
        except Unavailable as exc:
            log.warning("courier.waiting", reason=str(exc))
            pause = IDLE_SECONDS
        if pause > 0:
            await self._wakeup.wait(pause)

    def _claim_request(self, at: int) -> ClaimRequest:
        return ClaimRequest(
            at=at,
            lease_until=at + LEASE,
            limit=CLAIM,
            queued_for=list(self._queues.by_subscription),
            full=self._queues.full,
            next_sends=self._pacer.delayed(at),
        )

    def _start_workers(self) -> None:
        """Begin as many POSTs as there is work and room for."""
        while (started := self._queues.start()) is not None:
            self._tasks.spawn(self._send_in_turn(*started))

    async def _send_in_turn(self, queue: ReceiverQueue, task: DeliveryTask) -> None:
        """Carry *task*, then whatever is next, until there is none."""
        structlog.contextvars.clear_contextvars()  # of the request that happened to start this
        started: tuple[ReceiverQueue, DeliveryTask] | None = (queue, task)
        while started is not None:
            queue, task = started
            settled = await self._attempt_safely(task)
            left = self._queues.done(queue, task, settled=settled)
            if queue.overflowed and not queue.full:
                queue.overflowed = False
                self.wake()
            started = self._queues.start()
            self._start_workers()
            await self._release(left)

    async def _attempt_safely(self, task: DeliveryTask) -> bool:
        """Whatever goes wrong with one parcel, its lane goes on; the lease brings it back."""
        try:
            return await self._attempt(task)
        except Exception:
            log.exception("delivery.failed", delivery=task.delivery.id)
            return False

    async def _attempt(self, task: DeliveryTask) -> bool:
        """POST and settle; True when the delivery is over, so that the next may follow."""
        delivery, turn = task.delivery, self._pacer.next_send(task, self._clock())
        if delivery.due_at - turn < _MARGIN:
            return False  # its lease ends too soon: whoever claims it next will send it
        if (wait := turn - self._clock()) > 0:
            await asyncio.sleep(wait / SECOND)
        result = await self.post(task)
        jitter = random.uniform(-1, 1)  # noqa: S311 - spread, not secret
        update = after_attempt(delivery, result, jitter, probe=task.probe)
        try:
            await self._updates.put(update)
        except Unavailable:
            log.warning("delivery.unsettled", delivery=delivery.id)
            return False
        _log(update)
        over = update.delivery.status is not DeliveryStatus.PENDING
        if not over or (task.claimed and is_intermediate(delivery.type)):
            self.wake()
        return over

    async def post(self, task: DeliveryTask) -> AttemptResult:
        """Sign and POST once, whatever the state of the subscription."""
        at, subscription = self._clock(), task.subscription
        try:
            keys = [self._key(sealed) for sealed in signing_secrets(subscription, at)]
            own = {name: self._open(sealed) for name, sealed in subscription.headers.items()}
        except ValueError as exc:
            return AttemptResult(at=at, duration_ms=0, error=str(exc))
        event_id, timestamp = task.delivery.event_id, at // SECOND
        headers = {
            **own,
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(
                webhook_signature(key, event_id, timestamp, task.payload) for key in keys
            ),
        }
        return await self._client.post(subscription.url, task.payload, headers)

    async def _commit(self, updates: Sequence[DeliveryUpdate]) -> Sequence[None]:
        changes = await self.settle(updates)
        for subscription_id in changes.subscriptions:
            self.release_queued(subscription_id)
        return [None] * len(updates)

    async def _release(self, tasks: Sequence[DeliveryTask]) -> None:
        """Give parcels back, a few at a time; if even that fails, their lease ends by itself."""
        for start in range(0, len(tasks), CLAIM):
            some = [task.delivery for task in tasks[start : start + CLAIM]]
            try:
                await self._store.release(some, self._clock())
            except Unavailable:
                log.warning("delivery.unreleased", count=len(some))
            self.wake()


def _log(update: DeliveryUpdate) -> None:
    delivery, result = update.delivery, update.result
    ATTEMPTS.labels(delivery.status).inc()
    ATTEMPT_TIME.observe(result.duration_ms / 1000)
    log.info(
        "delivery.attempted",
        delivery=delivery.id,
        event_id=delivery.event_id,
        subscription=delivery.subscription_id,
        job=delivery.job_id,
        status_code=result.status_code,
        error=result.error,
        ms=result.duration_ms,
        status=delivery.status,
        tries=delivery.tries,
    )
