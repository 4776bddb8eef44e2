"""Whose receiver it is: on a shared database each is sent to by one process at a time."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from service.transactions.store_protocols import ClaimRequest
from store.engine.session import Session

LEEWAY: Final = 10
"""Lanes a process may have above its share, so that what is new always finds a taker."""


class ReceiverLeases:
    """The lanes of one process during one claim; *shut* are the receivers it may not claim for.

    It keeps those it has parcels of, gives up those that ran empty, and takes what is free up to
    its share, so that the busy ones spread over all processes. A process that dies leaves its
    lanes when their leases end, which is when the last of its POSTs may have ended.
    """

    def __init__(self, owner: str, wanted: ClaimRequest) -> None:
        self._owner, self._wanted = owner, wanted
        self._mine = set(wanted.queued_for)
        self._taken: set[str] = set()
        self._room = sys.maxsize
        self.shut: Sequence[str] = wanted.full

    async def open(self, session: Session) -> None:
        """Look who has which, with the other processes held off until the transaction ends."""
        wanted = self._wanted
        await session.queue("lock_lanes")
        await session.queue(
            "leave_lanes", owner=self._owner, at=wanted.at, kept=list(wanted.queued_for)
        )
        rows = await session.fetch("lanes")
        foreign = [row["subscription_id"] for row in rows if row["owner"] != self._owner]
        owners = {self._owner, *(row["owner"] for row in rows)}
        self._mine.difference_update(foreign)
        busy = self._mine.union(foreign) - owners
        if len(owners) > 1:
            self._room = -(-len(busy) // len(owners)) + LEEWAY
        beyond = sorted(self._mine)[self._room :]
        self.shut = [*wanted.full, *foreign, *beyond]

    def take(self, subscriptions: Iterable[str]) -> set[str]:
        """Take the lanes of *subscriptions* as far as there is room; says which are ours."""
        found = set(subscriptions)
        free = sorted(found - self._mine)
        self._mine.update(free[: max(0, self._room - len(self._mine))])
        self._taken |= found & self._mine
        return found & self._mine

    async def close(self, session: Session) -> None:
        """Write down what was taken, and that this process is there."""
        lanes = [self._owner, *sorted(self._taken)]
        row = {"owner": self._owner, "until": self._wanted.lease_until}
        await session.queue_many("take_lane", [{"subscription": lane, **row} for lane in lanes])


class SingleProcessLeases(ReceiverLeases):
    """The lanes of the only process there is: all of them."""

    async def open(self, session: Session) -> None:
        """Nobody has to be asked."""

    def take(self, subscriptions: Iterable[str]) -> set[str]:
        return set(subscriptions)

    async def close(self, session: Session) -> None:
        """Nobody has to be told."""
