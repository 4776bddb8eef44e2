"""What one process has claimed for each subscription, in order per job. No I/O in here."""

from collections import deque
from collections.abc import Sequence

from service.domain.deliveries.delivery import LEASE, Delivery, Hand, Parcel
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription

ROOM = 2000
"""Parcels a lane may have in hand; what is beyond stays in the store until there is room."""


class Turns:
    """When receivers with a rate may be sent to next.

    The store gives out turns; one that is taken late, because all hands were busy, puts off those
    that follow it. A turn that lies further ahead than a lease lasts was given out before the
    clock was set back, and does not count.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def take(self, parcel: Parcel, at: int) -> int:
        """Say when *parcel* may be sent, now being *at*."""
        rate = parcel.subscription.rate_limit
        if not rate:
            return at
        known = self._next.get(parcel.subscription.id, 0)
        turn = max(at, parcel.not_before, known if known <= at + LEASE else 0)
        self._next[parcel.subscription.id] = turn + SECOND // rate
        return turn

    def put_off(self, at: int) -> dict[str, int]:
        """Name the receivers that may not be sent to *at* once, and when they may."""
        self._next = {key: turn for key, turn in self._next.items() if at < turn <= at + LEASE}
        return dict(self._next)


class _Chain:
    """The parcels of one job: one is ready or under way, *waiting* are those behind it.

    *last* is the highest sequence that ever joined, whether or not it has been superseded since.
    """

    def __init__(self, last: int) -> None:
        self.waiting: deque[Parcel] = deque()
        self.last = last


class Lane:
    """The parcels for one subscription; at most its `max_in_flight` are under way."""

    def __init__(self, subscription: Subscription, room: int = ROOM) -> None:
        self.subscription, self._room = subscription, room
        self.held = 0
        self.turned_away = False
        """Whether something is parked because there was no room."""
        self.under_way: dict[str, Parcel] = {}
        self._ready: deque[Parcel] = deque()
        self._chains: dict[str, _Chain] = {}

    @property
    def full(self) -> bool:
        rate = self.subscription.rate_limit
        return self.held >= (rate + self.subscription.max_in_flight if rate else self._room)

    @property
    def can_start(self) -> bool:
        return len(self._ready) > 0 and len(self.under_way) < self.subscription.max_in_flight

    def follows(self, job_id: str | None, behind: int) -> bool:
        """Whether the earlier event *behind* (a sequence, 0: none is owed) is no obstacle here."""
        if not behind:
            return True
        chain = self._chains.get(job_id) if job_id else None
        return chain is not None and chain.last == behind

    def put(self, parcel: Parcel) -> bool:
        """Take *parcel* in; False when the event before it is owed and is not in this lane.

        If that one lies in the store, a parcel that joined here would overtake it.
        """
        self.subscription = parcel.subscription
        if not self.follows(parcel.delivery.job_id, parcel.behind):
            return False
        key, sequence = _chain_of(parcel), parcel.delivery.sequence
        if chain := self._chains.get(key):
            chain.waiting.append(parcel)
            chain.last = max(chain.last, sequence)
        else:
            self._chains[key] = _Chain(sequence)
            self._ready.append(parcel)
        self.held += 1
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
                self.held -= len(chain.waiting) - len(kept)
                chain.waiting = kept

    def next(self) -> Parcel | None:
        if not self.can_start:
            return None
        parcel = self._ready.popleft()
        self.under_way[parcel.delivery.id] = parcel
        return parcel

    def give_back(self) -> list[Parcel]:
        """Let go of everything that is not under way."""
        left = list(self._ready)
        for parcel in self._ready:
            left += self._chains.pop(_chain_of(parcel)).waiting
        for chain in self._chains.values():
            if chain.waiting:
                left += chain.waiting
                chain.waiting.clear()
                chain.last = 0  # what was given back is owed: nothing may overtake it in here
        self._ready.clear()
        self.held -= len(left)
        return left

    def done(self, parcel: Parcel, *, settled: bool) -> list[Parcel]:
        """Let the chain behind *parcel* go on; what may not follow yet is returned."""
        self.held -= 1
        del self.under_way[parcel.delivery.id]
        key = _chain_of(parcel)
        chain = self._chains[key]
        if settled and chain.waiting:
            self._ready.append(chain.waiting.popleft())
            return []
        del self._chains[key]
        self.held -= len(chain.waiting)
        return list(chain.waiting)


class SendQueues:
    """All lanes of one process, with at most *limit* POSTs under way over all of them.

    Three quarters of them are there for any subscription, the last quarter only for those that
    have nothing under way: many receivers that hang do not keep the others waiting. *alone*: no
    other process sends, so that what is being committed may be sent at once by this one.
    """

    def __init__(self, limit: int, *, alone: bool, room: int = ROOM) -> None:
        self.lanes: dict[str, Lane] = {}
        self.is_open = False
        """Whether somebody sends what is put in here."""
        self._limit, self._alone, self._room = limit, alone, room
        self._active = 0
        self._idle_waiting: dict[str, None] = {}
        self._busy_waiting: dict[str, None] = {}

    @property
    def under_way(self) -> list[Parcel]:
        return [parcel for lane in self.lanes.values() for parcel in lane.under_way.values()]

    @property
    def full(self) -> list[str]:
        """The subscriptions that nothing more is to be claimed for."""
        return [key for key, lane in self.lanes.items() if lane.full]

    def place(self, subscription: Subscription, job_id: str | None, behind: int) -> Hand:
        """Say who is to carry a delivery that is being committed.

        *behind* is the highest earlier sequence of its job that is owed to the subscription and
        is not being placed here by the same transaction; 0: none.
        """
        if not subscription.is_open or subscription.rate_limit:
            return Hand.PARKED
        lane = self.lanes.get(subscription.id)
        if lane is not None and lane.full:
            lane.turned_away = True
            return Hand.PARKED
        in_order = not behind or (lane is not None and lane.follows(job_id, behind))
        return Hand.TAKEN if self.is_open and self._alone and in_order else Hand.LEFT

    def waiting_progress(self, subscription_id: str, job_id: str) -> list[Delivery]:
        """Name what waits in here, unsent, and says less than a newer event of the job."""
        lane = self.lanes.get(subscription_id)
        return lane.waiting_progress(job_id) if lane else []

    def drop(self, superseded: Sequence[Delivery]) -> None:
        """Let go of deliveries that were superseded on disk."""
        by_lane: dict[str, list[Delivery]] = {}
        for delivery in superseded:
            by_lane.setdefault(delivery.subscription_id, []).append(delivery)
        for subscription_id, deliveries in by_lane.items():
            if lane := self.lanes.get(subscription_id):
                lane.drop(deliveries)

    def put(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Take *parcels* in; those that would overtake an earlier event are returned."""
        refused = []
        for parcel in parcels:
            key = parcel.subscription.id
            lane = self.lanes.setdefault(key, Lane(parcel.subscription, self._room))
            if not lane.put(parcel):
                refused.append(parcel)
            self._wait(lane)
            if lane.held == 0:
                del self.lanes[key]
        return refused

    def start(self) -> tuple[Lane, Parcel] | None:
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
            lane = self.lanes.get(key)
            if lane is not None and (parcel := lane.next()):
                self._active += 1
                self._wait(lane)
                return lane, parcel
        return None

    def done(self, lane: Lane, parcel: Parcel, *, settled: bool) -> list[Parcel]:
        """Note that a POST has ended; what must go back to the store is returned."""
        self._active -= 1
        left = lane.done(parcel, settled=settled)
        self._wait(lane)
        if lane.held == 0:
            self.lanes.pop(lane.subscription.id, None)
        return left

    def give_back(self, subscription_id: str | None = None) -> list[Parcel]:
        """Let go of what is not under way, of one subscription or of all."""
        left = []
        for key in list(self.lanes) if subscription_id is None else [subscription_id]:
            if lane := self.lanes.get(key):
                left += lane.give_back()
                if lane.held == 0:
                    del self.lanes[key]
        return left

    def _wait(self, lane: Lane) -> None:
        """Have *lane* wait for a free POST, if it can use one."""
        key = lane.subscription.id
        if lane.can_start and key not in self._idle_waiting:
            waiting = self._busy_waiting if lane.under_way else self._idle_waiting
            waiting[key] = None


def _chain_of(parcel: Parcel) -> str:
    """What is about no job waits for nothing."""
    return parcel.delivery.job_id or parcel.delivery.id
