"""The queues of one process: which delivery is sent next, in order per job and subscription."""

from collections import deque
from collections.abc import Iterable, Sequence

from service.domain.deliveries.delivery import LEASE, Delivery, DeliveryTask, Placement
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription

MAX_QUEUED = 2000
"""Tasks that one queue holds; further deliveries stay parked in the store until there is room."""


class SendPacer:
    """Assigns send times to rate-limited subscriptions.

    The store assigns slots; a slot that is used late delays those after it. A slot further ahead
    than a lease was assigned before the clock was set back, and is ignored.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def next_send(self, task: DeliveryTask, at: int) -> int:
        """When *task* may be sent; *at* is now, both in microseconds."""
        rate = task.subscription.rate_limit
        if not rate:
            return at
        known = self._next.get(task.subscription.id, 0)
        send_at = max(at, task.not_before, known if known <= at + LEASE else 0)
        self._next[task.subscription.id] = send_at + SECOND // rate
        return send_at

    def delayed(self, at: int) -> dict[str, int]:
        """The subscriptions that may not be sent to at once, and when they may."""
        self._next = {key: slot for key, slot in self._next.items() if at < slot <= at + LEASE}
        return dict(self._next)


class _JobChain:
    """The tasks of one job: one is ready or in flight, *waiting* are those behind it.

    *last* is the highest sequence that ever joined, whether or not it was superseded since.
    """

    def __init__(self, last: int) -> None:
        self.waiting: deque[DeliveryTask] = deque()
        self.last = last


class ReceiverQueue:
    """The tasks of one subscription; at most its `max_in_flight` are in flight."""

    def __init__(self, subscription: Subscription, max_queued: int = MAX_QUEUED) -> None:
        self.subscription, self._max_queued = subscription, max_queued
        self.queued_count = 0
        self.overflowed = False
        """Whether a delivery was parked because this queue was full."""
        self.in_flight: dict[str, DeliveryTask] = {}
        self._ready: deque[DeliveryTask] = deque()
        self._chains: dict[str, _JobChain] = {}

    @property
    def full(self) -> bool:
        rate = self.subscription.rate_limit
        limit = rate + self.subscription.max_in_flight if rate else self._max_queued
        return self.queued_count >= limit

    @property
    def can_start(self) -> bool:
        return len(self._ready) > 0 and len(self.in_flight) < self.subscription.max_in_flight

    def follows(self, job_id: str | None, earlier_pending: int) -> bool:
        """Whether an event may join: no earlier one is pending, or the newest of them is here."""
        if not earlier_pending:
            return True
        chain = self._chains.get(job_id) if job_id else None
        return chain is not None and chain.last == earlier_pending

    def put(self, task: DeliveryTask) -> bool:
        """Queue *task*; False if it would overtake an earlier event that is only in the store."""
        self.subscription = task.subscription
        if not self.follows(task.delivery.job_id, task.earlier_pending):
            return False
        key, sequence = _chain_key(task), task.delivery.sequence
        if chain := self._chains.get(key):
            chain.waiting.append(task)
            chain.last = max(chain.last, sequence)
        else:
            self._chains[key] = _JobChain(sequence)
            self._ready.append(task)
        self.queued_count += 1
        return True

    def waiting_progress(self, job_id: str | None) -> list[Delivery]:
        """The progress deliveries of a job that wait behind another event of it."""
        chain = self._chains.get(job_id) if job_id else None
        waiting = chain.waiting if chain else ()
        return [one.delivery for one in waiting if one.delivery.type == "job.progress"]

    def drop(self, superseded: Sequence[Delivery]) -> None:
        """Remove superseded deliveries, unless they became ready or in flight meanwhile."""
        ids = {delivery.id for delivery in superseded}
        for delivery in superseded:
            if chain := self._chains.get(delivery.job_id or ""):
                kept = deque(one for one in chain.waiting if one.delivery.id not in ids)
                self.queued_count -= len(chain.waiting) - len(kept)
                chain.waiting = kept

    def next(self) -> DeliveryTask | None:
        if not self.can_start:
            return None
        task = self._ready.popleft()
        self.in_flight[task.delivery.id] = task
        return task

    def release(self) -> list[DeliveryTask]:
        """Remove and return everything that is not in flight."""
        removed = list(self._ready)
        for task in self._ready:
            removed += self._chains.pop(_chain_key(task)).waiting
        for chain in self._chains.values():
            if chain.waiting:
                removed += chain.waiting
                chain.waiting.clear()
                chain.last = 0  # its tasks are pending in the store: no later event may join
        self._ready.clear()
        self.queued_count -= len(removed)
        return removed

    def done(self, task: DeliveryTask, *, settled: bool) -> list[DeliveryTask]:
        """End an attempt; if the delivery is not *settled*, its job's later tasks are returned."""
        self.queued_count -= 1
        del self.in_flight[task.delivery.id]
        key = _chain_key(task)
        chain = self._chains[key]
        if settled and chain.waiting:
            self._ready.append(chain.waiting.popleft())
            return []
        del self._chains[key]
        self.queued_count -= len(chain.waiting)
        return list(chain.waiting)


class SendQueues:
    """The queues of this process, by subscription, and the limit of attempts at once.

    Three quarters of the limit are for any subscription, the last quarter only for subscriptions
    with nothing in flight: receivers that hang do not delay the others. *alone*: no other process
    sends, so this one may send at once what it commits.
    """

    def __init__(self, limit: int, *, alone: bool, max_queued: int = MAX_QUEUED) -> None:
        self.by_subscription: dict[str, ReceiverQueue] = {}
        self.accepts_work = False
        """Whether a dispatcher runs in this process."""
        self._limit, self._alone, self._max_queued = limit, alone, max_queued
        self._active = 0
        self._idle_waiting: dict[str, None] = {}
        self._busy_waiting: dict[str, None] = {}

    @property
    def in_flight(self) -> list[DeliveryTask]:
        return [
            task for queue in self.by_subscription.values() for task in queue.in_flight.values()
        ]

    @property
    def full(self) -> list[str]:
        """The subscriptions for which nothing more may be claimed."""
        return [key for key, queue in self.by_subscription.items() if queue.full]

    def place(
        self, subscription: Subscription, job_id: str | None, earlier_pending: int
    ) -> Placement:
        """Decide who sends a delivery that is being committed; changes nothing.

        *earlier_pending* is the sequence of the job's newest earlier event that is pending for the
        subscription and not placed here by the same transaction; 0 if there is none.
        """
        if not subscription.deliverable or subscription.rate_limit:
            return Placement.PARKED
        queue = self.by_subscription.get(subscription.id)
        if queue is not None and queue.full:
            return Placement.OVERFLOW
        in_order = not earlier_pending or (
            queue is not None and queue.follows(job_id, earlier_pending)
        )
        here = self.accepts_work and self._alone and in_order
        return Placement.LOCAL if here else Placement.QUEUED

    def mark_overflowed(self, subscriptions: Iterable[str]) -> bool:
        """Note that deliveries were parked because a queue was full; True if it has room now."""
        has_room = False
        for subscription_id in subscriptions:
            queue = self.by_subscription.get(subscription_id)
            if queue is None or not queue.full:
                has_room = True
            else:
                queue.overflowed = True
        return has_room

    def waiting_progress(self, subscription_id: str, job_id: str) -> list[Delivery]:
        """The job's progress deliveries that wait in this process behind another event of it."""
        queue = self.by_subscription.get(subscription_id)
        return queue.waiting_progress(job_id) if queue else []

    def drop(self, superseded: Sequence[Delivery]) -> None:
        """Remove deliveries that were superseded in the store."""
        by_subscription: dict[str, list[Delivery]] = {}
        for delivery in superseded:
            by_subscription.setdefault(delivery.subscription_id, []).append(delivery)
        for subscription_id, deliveries in by_subscription.items():
            if queue := self.by_subscription.get(subscription_id):
                queue.drop(deliveries)

    def put(self, tasks: Sequence[DeliveryTask]) -> list[DeliveryTask]:
        """Queue *tasks*; those that would overtake an earlier event are returned."""
        refused = []
        for task in tasks:
            key = task.subscription.id
            queue = self.by_subscription.get(key)
            if queue is None:
                queue = ReceiverQueue(task.subscription, self._max_queued)
                self.by_subscription[key] = queue
            if not queue.put(task):
                refused.append(task)
            self._wait(queue)
            if queue.queued_count == 0:
                del self.by_subscription[key]
        return refused

    def start(self) -> tuple[ReceiverQueue, DeliveryTask] | None:
        """Take the next task, from each subscription in turn; None if none may start now."""
        while self.accepts_work and self._active < self._limit:
            if self._idle_waiting:
                waiting = self._idle_waiting
            elif self._busy_waiting and self._active < self._limit * 3 // 4:
                waiting = self._busy_waiting
            else:
                return None
            key = next(iter(waiting))
            del waiting[key]
            queue = self.by_subscription.get(key)
            if queue is not None and (task := queue.next()):
                self._active += 1
                self._wait(queue)
                return queue, task
        return None

    def done(
        self, queue: ReceiverQueue, task: DeliveryTask, *, settled: bool
    ) -> list[DeliveryTask]:
        """End an attempt; tasks that must be returned to the store are returned."""
        self._active -= 1
        removed = queue.done(task, settled=settled)
        self._wait(queue)
        if queue.queued_count == 0:
            self.by_subscription.pop(queue.subscription.id, None)
        return removed

    def release(self, subscription_id: str | None = None) -> list[DeliveryTask]:
        """Remove and return what is not in flight, of one subscription or of all."""
        removed = []
        for key in list(self.by_subscription) if subscription_id is None else [subscription_id]:
            if queue := self.by_subscription.get(key):
                removed += queue.release()
                if queue.queued_count == 0:
                    del self.by_subscription[key]
        return removed

    def _wait(self, queue: ReceiverQueue) -> None:
        """Have *queue* wait for a free attempt if it has a task to start."""
        key = queue.subscription.id
        if queue.can_start and key not in self._idle_waiting:
            waiting = self._busy_waiting if queue.in_flight else self._idle_waiting
            waiting[key] = None


def _chain_key(task: DeliveryTask) -> str:
    """Tasks of one job form a chain; an event about no job is a chain of its own."""
    return task.delivery.job_id or task.delivery.id
