"""The dispatcher: sends deliveries as signed webhooks and records their attempts."""

import asyncio
import random
from collections.abc import Sequence
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
from service.runtime.group_commit import GroupCommitter
from service.runtime.observability.metrics import ATTEMPT_TIME, ATTEMPTS
from service.runtime.secret_box import SecretBox
from service.runtime.tasks import GRACE_SECONDS, TaskSet
from service.runtime.wakeups import WakeupEvent
from service.transactions.change_set import ChangeSet
from service.transactions.receiver_health import update_health
from service.transactions.store_protocols import ClaimRequest, Store
from service.transactions.unit_of_work import Transactions

CLAIM_LIMIT: Final = 200
"""Due deliveries that one claim leases at most, and parked ones per subscription."""
GROUP: Final = 256
"""Attempts that share one transaction at most."""
IDLE_SECONDS: Final = 1.0
"""The longest pause between two claims: wake-ups of other processes may be lost."""
_MARGIN: Final = (ATTEMPT_SECONDS + 5) * SECOND
"""The lease that must be left when an attempt starts."""
log = structlog.get_logger()


class DispatchInbox:
    """What this process has to send, without I/O: its queues, and what must be returned.

    Transactions call its hook `on_commit`; the dispatcher waits for its events.
    """

    def __init__(self, queues: SendQueues) -> None:
        self.queues, self._pacer = queues, SendPacer()
        self.tasks_ready = asyncio.Event()
        self.claim_wakeup = WakeupEvent()
        self._released: list[DeliveryTask] = []
        self._claiming = False
        self._changed_during_claim: set[str | None] = set()

    def on_commit(self, changes: ChangeSet) -> None:
        """Queue what was placed in this process; it is on disk, and leased by this process."""
        self.queues.drop(changes.superseded)
        local = [task for task in changes.delivery_tasks if task.is_local]
        if local:
            self.put(local)
        has_room = self.queues.mark_overflowed(changes.overflowed)
        if has_room or any(task.needs_claim for task in changes.delivery_tasks):
            self.claim_wakeup.set()
        for subscription_id in changes.subscriptions:
            self.release_queued(subscription_id)

    def wake(self) -> None:
        """Claim soon: something in the store may have become due."""
        self.claim_wakeup.set()

    def begin_claim(self, at: int, limit: int = CLAIM_LIMIT) -> ClaimRequest:
        """Begin a claim, whose tasks go to `end_claim`."""
        self._claiming = True
        self._changed_during_claim.clear()
        return ClaimRequest(
            at=at,
            lease_until=at + LEASE,
            limit=limit,
            queued_for=list(self.queues.by_subscription),
            full=self.queues.full,
            next_sends=self._pacer.delayed(at),
        )

    def put(self, tasks: Sequence[DeliveryTask]) -> None:
        """Queue leased tasks; those that would overtake an earlier event are released."""
        self._released += self.queues.put(tasks)
        self.tasks_ready.set()

    def end_claim(self, tasks: Sequence[DeliveryTask]) -> None:
        """Queue claimed tasks; those whose subscription may have changed meanwhile are released.

        A probe is sent all the same: if it were released, the next one would be due only when its
        lease ends.
        """
        self._claiming = False
        current: list[DeliveryTask] = []
        for task in tasks:
            changed = self._changed_during_claim & {task.subscription.id, None}
            if changed and not task.probe:
                self._released.append(task)
            else:
                current.append(task)
        self.put(current)

    def release_queued(self, subscription_id: str | None = None) -> None:
        """Release what is not in flight, because a subscription (None: any) has changed."""
        if self._claiming:
            self._changed_during_claim.add(subscription_id)
        self._released += self.queues.release(subscription_id)
        self.tasks_ready.set()
        self.claim_wakeup.set()

    def take_released(self) -> list[DeliveryTask]:
        """The tasks that must be returned to the store; they are not kept here any longer."""
        released, self._released = self._released, []
        return released

    def reserve_send_time(self, task: DeliveryTask, at: int) -> int | None:
        """Reserve the next rate slot for *task*: when it may be sent, in microseconds.

        None if its lease could end during the attempt.
        """
        send_at = self._pacer.next_send(task, at)
        lease_until = task.delivery.due_at or 0
        return send_at if lease_until - send_at >= _MARGIN else None

    def done(self, queue: ReceiverQueue, task: DeliveryTask, *, settled: bool) -> None:
        """End an attempt; if the delivery is not *settled*, its job's later tasks are released."""
        self._released += self.queues.done(queue, task, settled=settled)
        if queue.overflowed and not queue.full:
            queue.overflowed = False
            self.claim_wakeup.set()


class Dispatcher:
    """Sends the tasks of its inbox, and claims further ones from the store when they are due."""

    def __init__(
        self,
        store: Store,
        transactions: Transactions,
        inbox: DispatchInbox,
        client: WebhookClient,
        secret_box: SecretBox,
    ) -> None:
        self._store, self._transactions, self._clock = store, transactions, transactions.clock
        self._inbox, self._queues, self._client = inbox, inbox.queues, client
        self._tasks = TaskSet()
        self._updates = GroupCommitter(self._record, GROUP)
        self._open = lru_cache(maxsize=10_000)(secret_box.open)
        self._key = lru_cache(maxsize=10_000)(lambda sealed: secret_bytes(secret_box.open(sealed)))

    async def run(self) -> None:
        """Send until cancelled; then finish the attempts in flight, for a few seconds at most."""
        self._queues.accepts_work = True
        helpers = [
            asyncio.create_task(self._updates.run(), name="attempts"),
            asyncio.create_task(self._start_ready(), name="start attempts"),
        ]
        try:
            while True:
                await self._claim()
        finally:
            self._queues.accepts_work = False
            helpers[1].cancel()
            self._inbox.release_queued()
            await self._release(self._inbox.take_released())
            await self._tasks.finish(GRACE_SECONDS)
            await self._release(self._queues.in_flight)
            helpers[0].cancel()

    async def _claim(self) -> None:
        """Claim what is due, then wait until more may be due."""
        self._inbox.claim_wakeup.clear()
        try:
            at = self._clock()
            claimed = await self._store.deliveries.claim(self._inbox.begin_claim(at))
            self._inbox.end_claim(claimed.tasks)
            pause = 0.0 if claimed.more else IDLE_SECONDS
            if pause and (due := await self._store.deliveries.next_due()) and due > at:
                pause = min(pause, (due - self._clock()) / SECOND)
        except Unavailable as exc:
            log.warning("dispatcher.waiting", reason=str(exc))
            pause = IDLE_SECONDS
        if pause > 0:
            await self._inbox.claim_wakeup.wait(pause)

    async def _start_ready(self) -> None:
        """Start attempts for the tasks of the inbox, and return what it released."""
        while True:
            await self._inbox.tasks_ready.wait()
            self._inbox.tasks_ready.clear()
            if released := self._inbox.take_released():
                self._tasks.spawn(self._release(released))
            self._start_workers()

    def _start_workers(self) -> None:
        """Start workers up to the limits."""
        while (started := self._queues.start()) is not None:
            self._tasks.spawn(self._work(*started))

    async def _work(self, queue: ReceiverQueue, task: DeliveryTask) -> None:
        """Send *task*, then the next one, until none may start."""
        structlog.contextvars.clear_contextvars()  # those of the request that caused the commit
        started: tuple[ReceiverQueue, DeliveryTask] | None = (queue, task)
        while started is not None:
            queue, task = started
            try:
                settled = await self._attempt(task)
            except Exception:
                log.exception("delivery.failed", delivery=task.delivery.id)
                settled = False  # it is claimed again when its lease ends
            self._inbox.done(queue, task, settled=settled)
            started = self._queues.start()
            self._start_workers()
            await self._release(self._inbox.take_released())

    async def _attempt(self, task: DeliveryTask) -> bool:
        """POST and record the attempt; True if the delivery is settled and the next may follow."""
        delivery, send_at = task.delivery, self._inbox.reserve_send_time(task, self._clock())
        if send_at is None:
            return False  # another claim will send it
        if (wait := send_at - self._clock()) > 0:
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
        settled = update.delivery.status is not DeliveryStatus.PENDING
        if not settled or (task.claimed and is_intermediate(delivery.type)):
            self._inbox.wake()
        return settled

    async def post(self, task: DeliveryTask) -> AttemptResult:
        """Sign and POST once, whatever the state of the subscription."""
        at, subscription = self._clock(), task.subscription
        try:
            keys = [self._key(sealed) for sealed in signing_secrets(subscription, at)]
            custom = {name: self._open(sealed) for name, sealed in subscription.headers.items()}
        except ValueError as exc:
            return AttemptResult(at=at, duration_ms=0, error=str(exc))
        event_id, timestamp = task.delivery.event_id, at // SECOND
        headers = {
            **custom,
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(
                webhook_signature(key, event_id, timestamp, task.payload) for key in keys
            ),
        }
        return await self._client.post(subscription.url, task.payload, headers)

    async def _record(self, updates: Sequence[DeliveryUpdate]) -> Sequence[None]:
        async with self._transactions.record_attempts(updates) as uow:
            update_health(uow, updates)
        return [None] * len(updates)

    async def _release(self, tasks: Sequence[DeliveryTask]) -> None:
        """Return tasks to the store, some at a time; if that fails, their leases end by time."""
        for start in range(0, len(tasks), CLAIM_LIMIT):
            some = [task.delivery for task in tasks[start : start + CLAIM_LIMIT]]
            try:
                await self._store.deliveries.release(some, self._clock())
            except Unavailable:
                log.warning("delivery.unreleased", count=len(some))
            self._inbox.wake()


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
