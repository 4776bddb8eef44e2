"""On a shared database, each receiver is sent to by one process at a time."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from service.transactions.store_protocols import ClaimRequest
from store.engine.session import Session

LEEWAY: Final = 10
"""Receivers a process may have above its share, so that a new one always finds a process."""


class ReceiverLeases:
    """The receivers of one process during one claim; it must not claim for *excluded* ones.

    A process keeps the receivers it has tasks for, gives up those whose queue is empty, and takes
    free ones up to its share, so that busy receivers spread over all processes. The receivers of a
    process that stops are free when its leases end, which is when its last attempt has ended.
    """

    def __init__(self, owner: str, request: ClaimRequest) -> None:
        self._owner, self._request = owner, request
        self._mine = set(request.queued_for)
        self._taken: set[str] = set()
        self._max = sys.maxsize
        self.excluded: Sequence[str] = request.full

    async def open(self, session: Session) -> None:
        """Lock and read the leases of all processes, until the transaction ends."""
        request, kept = self._request, list(self._request.queued_for)
        await session.queue("lock_receiver_leases")
        await session.queue("release_receiver_leases", owner=self._owner, at=request.at, kept=kept)
        rows = await session.fetch("receiver_leases")
        foreign = [row["subscription_id"] for row in rows if row["owner"] != self._owner]
        owners = {self._owner, *(row["owner"] for row in rows)}
        self._mine.difference_update(foreign)
        busy = self._mine.union(foreign) - owners
        if len(owners) > 1:
            self._max = -(-len(busy) // len(owners)) + LEEWAY
        beyond = sorted(self._mine)[self._max :]
        self.excluded = [*request.full, *foreign, *beyond]

    def take(self, subscriptions: Iterable[str]) -> set[str]:
        """Lease *subscriptions* up to the share of this process; returns those it has now."""
        found = set(subscriptions)
        free = sorted(found - self._mine)
        self._mine.update(free[: max(0, self._max - len(self._mine))])
        self._taken |= found & self._mine
        return found & self._mine

    async def close(self, session: Session) -> None:
        """Write the leases, and one in the process's own name, by which processes are counted."""
        taken = [self._owner, *sorted(self._taken)]
        row = {"owner": self._owner, "until": self._request.lease_until}
        await session.queue_many("lease_receiver", [{"subscription": one, **row} for one in taken])


class SingleProcessLeases(ReceiverLeases):
    """The only process has all receivers."""

    async def open(self, session: Session) -> None:
        """Nothing to lock."""

    def take(self, subscriptions: Iterable[str]) -> set[str]:
        return set(subscriptions)

    async def close(self, session: Session) -> None:
        """Nothing to write."""
