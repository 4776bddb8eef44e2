"""What a courier has in hand for one subscription, in order per job. No I/O in here."""

from collections import deque

from service.deliveries import Parcel
from service.subscriptions import Subscription
from service.times import SECOND

ROOM = 2000
"""Parcels a lane may have in hand; what is beyond stays in the store until there is room."""


class Turns:
    """When receivers with a rate may be sent to next.

    The store gives out turns; one that is taken late, because all hands were busy, puts off those
    that follow it.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def take(self, parcel: Parcel, at: int) -> int:
        """Say when *parcel* may be sent, now being *at*."""
        rate = parcel.subscription.rate_limit
        if not rate:
            return at
        turn = max(at, parcel.not_before, self._next.get(parcel.subscription.id, 0))
        self._next[parcel.subscription.id] = turn + SECOND // rate
        return turn

    def put_off(self, at: int) -> dict[str, int]:
        """Name the receivers that may not be sent to *at* once, and when they may."""
        self._next = {key: turn for key, turn in self._next.items() if turn > at}
        return dict(self._next)


class Lane:
    """*active* counts the POSTs under way, at most the subscription's `max_in_flight`.

    A job's parcels form a chain: the first is ready or under way, the others wait behind it.
    """

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.active = 0
        self.held = 0
        self.turned_away = False
        """Whether something is parked because there was no room."""
        self.under_way: dict[str, Parcel] = {}
        self._ready: deque[Parcel] = deque()
        self._chains: dict[str, deque[Parcel]] = {}

    @property
    def full(self) -> bool:
        rate = self.subscription.rate_limit
        return self.held >= (rate + self.subscription.max_in_flight if rate else ROOM)

    @property
    def wants_hands(self) -> bool:
        return len(self._ready) > 0 and self.active < self.subscription.max_in_flight

    def has_chain(self, job_id: str) -> bool:
        return job_id in self._chains

    def put(self, parcel: Parcel) -> bool:
        """Take *parcel* in; False when it must stay behind one that is not in hand."""
        self.subscription = parcel.subscription
        job_id = _chain_of(parcel)
        if job_id in self._chains:
            self._chains[job_id].append(parcel)
        elif parcel.behind:
            return False
        else:
            self._chains[job_id] = deque()
            self._ready.append(parcel)
        self.held += 1
        return True

    def outdated(self, parcel: Parcel) -> list[Parcel]:
        """Let go of the progress events that wait for their turn and *parcel* says more than."""
        chain = self._chains.get(_chain_of(parcel))
        if not chain or self.subscription.delivery == "every":
            return []
        old = [one for one in chain if one.delivery.type == "job.progress"]
        for one in old:
            chain.remove(one)
        self.held -= len(old)
        return old

    def next(self) -> Parcel | None:
        if not self._ready:
            return None
        parcel = self._ready.popleft()
        self.under_way[parcel.delivery.id] = parcel
        return parcel

    def give_back(self) -> list[Parcel]:
        """Let go of everything that is not under way."""
        left = list(self._ready)
        for parcel in self._ready:
            left += self._chains.pop(_chain_of(parcel))
        for chain in self._chains.values():
            left += chain
            chain.clear()
        self._ready.clear()
        self.held -= len(left)
        return left

    def done(self, parcel: Parcel, *, settled: bool) -> list[Parcel]:
        """Let the chain behind *parcel* go on; what may not follow yet is returned."""
        self.held -= 1
        self.under_way.pop(parcel.delivery.id, None)
        job_id = _chain_of(parcel)
        chain = self._chains[job_id]
        if settled and chain:
            self._ready.append(chain.popleft())
            return []
        del self._chains[job_id]
        self.held -= len(chain)
        return list(chain)


def _chain_of(parcel: Parcel) -> str:
    """What is about no job waits for nothing."""
    return parcel.delivery.job_id or parcel.delivery.id
