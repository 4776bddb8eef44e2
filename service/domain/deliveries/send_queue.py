"""What one process has claimed for each subscription, in order per job. No I/O in here."""

from collections import deque
from collections.abc import Sequence

from service.domain.deliveries.delivery import LEASE, Delivery, DeliveryTask, Placement
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription

MAX_QUEUED = 2000
"""Parcels a lane may have in hand; what is beyond stays in the store until there is room."""


class SendPacer:
    """When receivers with a rate may be sent to next.

    The store gives out turns; one that is taken late, because all hands were busy, puts off those
    that follow it. A turn that lies further ahead than a lease lasts was given out before the
    clock was set back, and does not count.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def next_send(self, task: DeliveryTask, at: int) -> int:
        """Say when *task* may be sent, now being *at*."""
        rate = task.subscription.rate_limit
        if not rate:
            return at
        known = self._next.get(task.subscription.id, 0)
        turn = max(at, task.not_before, known if known <= at + LEASE else 0)
        self._next[task.subscription.id] = turn + SECOND // rate
        return turn

    def delayed(self, at: int) -> dict[str, int]:
        """Name the receivers that may not be sent to *at* once, and when they may."""
        self._next = {key: turn for key, turn in self._next.items() if at < turn <= at + LEASE}
        return dict(self._next)


class _JobChain:
    """The parcels of one job: one is ready or under way, *waiting* are those behind it.

    *last* is the highest sequence that ever joined, whether or not it has been superseded since.
    """

    def __init__(self, last: int) -> None:
        self.waiting: deque[DeliveryTask] = deque()
        self.last = last


class ReceiverQueue:
    """The parcels for one subscription; at most its `max_in_flight` are under way."""

    def __init__(self, subscription: Subscription, room: int = MAX_QUEUED) -> None:
        self.subscription, self._room = subscription, room
        self.queued_count = 0
        self.overflowed = False
        """Whether something is parked because there was no room."""
        self.in_flight: dict[str, DeliveryTask] = {}
        self._ready: deque[DeliveryTask] = deque()
        self._chains: dict[str, _JobChain] = {}

    @property
    def full(self) -> bool:
        rate = self.subscription.rate_limit
        return self.queued_count >= (rate + self.subscription.max_in_flight if rate else self._room)

    @property
    def can_start(self) -> bool:
        return len(self._ready) > 0 and len(self.in_flight) < self.subscription.max_in_flight

    def follows(self, job_id: str | None, behind: int) -> bool:
        """Whether the earlier event *behind* (a sequence, 0: none is owed) is no obstacle here."""
        if not behind:
            return True
        chain = self._chains.get(job_id) if job_id else None
        return chain is not None and chain.last == behind

    def put(self, task: DeliveryTask) -> bool:
        """Take *task* in; False when the event before it is owed and is not in this lane.

        If that one lies in the store, a parcel that joined here would overtake it.
        """
        self.subscription = task.subscription
        if not self.follows(task.delivery.job_id, task.earlier_pending):
            return False
        key, sequence = _chain_of(task), task.delivery.sequence
        if chain := self._chains.get(key):
            chain.waiting.append(task)
            chain.last = max(chain.last, sequence)
        else:
            self._chains[key] = _JobChain(sequence)
            self._ready.append(task)
        self.queued_count += 1
        return True

    def waiting_progress(self, job_id: str | None) -> list[Delivery]:
        """Name the progress events of a job that wait here behind another event of it."""
        chain = self._chains.get(job_id) if job_id else None
        waiting = chain.waiting if chain else ()
        return [one.delivery for one in waiting if one.delivery.type == "job.progress"]

    def drop(self, superseded: Sequence[Delivery]) -> None:
        """Let go of what is superseded on disk, unless it is ready or under way by now."""
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
        """Let go of everything that is not under way."""
        left = list(self._ready)
        for task in self._ready:
            left += self._chains.pop(_chain_of(task)).waiting
        for chain in self._chains.values():
            if chain.waiting:
                left += chain.waiting
                chain.waiting.clear()
                chain.last = 0  # what was given back is owed: nothing may overtake it in here
        self._ready.clear()
        self.queued_count -= len(left)
        return left

    def done(self, task: DeliveryTask, *, settled: bool) -> list[DeliveryTask]:
        """Let the chain behind *task* go on; what may not follow yet is returned."""
        self.queued_count -= 1
        del self.in_flight[task.delivery.id]
        key = _chain_of(task)
        chain = self._chains[key]
        if settled and chain.waiting:
            self._ready.append(chain.waiting.popleft())
            return []
        del self._chains[key]
        self.queued_count -= len(chain.waiting)
        return list(chain.waiting)


class SendQueues:
    """All lanes of one process, with at most *limit* POSTs under way over all of them.

    Three quarters of them are there for any subscription, the last quarter only for those that
    have nothing under way: many receivers that hang do not keep the others waiting. *alone*: no
    other process sends, so that what is being committed may be sent at once by this one.
    """

    def __init__(self, limit: int, *, alone: bool, room: int = MAX_QUEUED) -> None:
        self.by_subscription: dict[str, ReceiverQueue] = {}
        self.is_open = False
        """Whether somebody sends what is put in here."""
        self._limit, self._alone, self._room = limit, alone, room
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
        """The subscriptions that nothing more is to be claimed for."""
        return [key for key, queue in self.by_subscription.items() if queue.full]

    def place(self, subscription: Subscription, job_id: str | None, behind: int) -> Placement:
        """Say who is to carry a delivery that is being committed.

        *behind* is the highest earlier sequence of its job that is owed to the subscription and
        is not being placed here by the same transaction; 0: none.
        """
        if not subscription.deliverable or subscription.rate_limit:
            return Placement.PARKED
        queue = self.by_subscription.get(subscription.id)
        if queue is not None and queue.full:
            queue.overflowed = True
            return Placement.PARKED
        in_order = not behind or (queue is not None and queue.follows(job_id, behind))
        return Placement.LOCAL if self.is_open and self._alone and in_order else Placement.QUEUED

    def waiting_progress(self, subscription_id: str, job_id: str) -> list[Delivery]:
        """Name what waits in here, unsent, and says less than a newer event of the job."""
        queue = self.by_subscription.get(subscription_id)
        return queue.waiting_progress(job_id) if queue else []

    def drop(self, superseded: Sequence[Delivery]) -> None:
        """Let go of deliveries that were superseded on disk."""
        by_lane: dict[str, list[Delivery]] = {}
        for delivery in superseded:
            by_lane.setdefault(delivery.subscription_id, []).append(delivery)
        for subscription_id, deliveries in by_lane.items():
            if queue := self.by_subscription.get(subscription_id):
                queue.drop(deliveries)

    def put(self, tasks: Sequence[DeliveryTask]) -> list[DeliveryTask]:
        """Take *tasks* in; those that would overtake an earlier event are returned."""
        refused = []
        for task in tasks:
            key = task.subscription.id
            queue = self.by_subscription.setdefault(
                key, ReceiverQueue(task.subscription, self._room)
            )
            if not queue.put(task):
                refused.append(task)
            self._wait(queue)
            if queue.queued_count == 0:
                del self.by_subscription[key]
        return refused

    def start(self) -> tuple[ReceiverQueue, DeliveryTask] | None:
        """Take the next parcel to be sent, from each subscription in turn; None: not now."""
        while self.is_open and self._active < self._limit:
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
        """Note that a POST has ended; what must go back to the store is returned."""
        self._active -= 1
        left = queue.done(task, settled=settled)
        self._wait(queue)
        if queue.queued_count == 0:
            self.by_subscription.pop(queue.subscription.id, None)
        return left

    def release(self, subscription_id: str | None = None) -> list[DeliveryTask]:
        """Let go of what is not under way, of one subscription or of all."""
        left = []
        for key in list(self.by_subscription) if subscription_id is None else [subscription_id]:
            if queue := self.by_subscription.get(key):
                left += queue.release()
                if queue.queued_count == 0:
                    del self.by_subscription[key]
        return left

    def _wait(self, queue: ReceiverQueue) -> None:
        """Have *queue* wait for a free POST, if it can use one."""
        key = queue.subscription.id
        if queue.can_start and key not in self._idle_waiting:
            waiting = self._busy_waiting if queue.in_flight else self._idle_waiting
            waiting[key] = None


def _chain_of(task: DeliveryTask) -> str:
    """What is about no job waits for nothing."""
    return task.delivery.job_id or task.delivery.id
