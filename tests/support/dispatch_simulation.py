"""Couriers without sockets and clocks: what a test tells them, with the real store and lanes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from service.domain.deliveries.delivery import LEASE, Delivery, DeliveryStatus, Parcel
from service.domain.deliveries.retry_policy import ATTEMPT_SECONDS, Outcome, settle
from service.domain.deliveries.send_queue import SendQueues, Turns
from service.domain.jobs.job import Report
from service.domain.jobs.state_machine import advance
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import Changes
from service.transactions.receiver_health import judge
from service.transactions.store_protocols import Claim, NewJob, Page
from service.transactions.unit_of_work import Mover, Moves
from store.engine.postgres import open_postgres
from store.engine.session import Database
from store.engine.sqlite import open_sqlite
from store.sql_store import SqlStore
from tests.support.factories import CHANCE, NOON

T = TypeVar("T")
ALL = Page(limit=10_000)
FEW = 6
MOST_POSTS = 5
"""So few that subscriptions wait for each other."""
ROOM = 4
"""So little that what is beyond it is parked."""
MARGIN = (ATTEMPT_SECONDS + 5) * SECOND


class Post(msgspec.Struct, frozen=True):
    """A parcel under way since *at*."""

    parcel: Parcel
    at: int


class Worker:
    """One process: its store, its queues, and its POSTs under way."""

    def __init__(self, database: Database, *, alone: bool) -> None:
        self.store, self.posts = SqlStore(database), list[Post]()
        self.queues = SendQueues(MOST_POSTS, alone=alone, room=ROOM)
        self.queues.is_open = True
        self.turns = Turns()

    def wanted(self, at: int) -> Claim:
        return Claim(
            at=at,
            lease_until=at + LEASE,
            limit=FEW,
            kept=list(self.queues.lanes),
            full=self.queues.full,
            turns=self.turns.put_off(at),
        )


class House:
    """Some workers on one database, and the time."""

    def __init__(self, database_url: str, workers: int) -> None:
        self._runner, self.at = asyncio.Runner(), 0
        self._returned: list[tuple[Worker, Parcel]] = []
        self._databases = [self.run(_opened(database_url)) for _ in range(workers)]
        self._alone = workers == 1
        self.workers = [Worker(database, alone=self._alone) for database in self._databases]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        for worker in self.workers:
            self.run(worker.store.close())
        self._runner.close()

    @property
    def store(self) -> SqlStore:
        return self.workers[0].store

    def begin(self) -> None:
        """Begin a new story: nothing is owed to anybody, and whoever worked is gone."""
        self.at = max(NOON, self.at + LEASE)
        for worker in list(self.workers):
            self.kill(worker)
        for hook in self.run(self.store.subscriptions("acme", {}, ALL)):
            self.delete(hook.id)

    # What is told

    def add(self, new: NewJob) -> Sequence[Parcel]:
        mover, told = self._mover(self.workers[0])
        self.run(mover.add([new], None))
        return told

    def report(self, ref: str, *reports: Report) -> Sequence[Parcel]:
        """Have one transaction apply *reports* to the job, each an event of its own."""
        mover, told = self._mover(self.workers[0])

        def act(moves: Moves) -> None:
            for report in reports:
                job = moves.job(ref)
                if job is not None and (after := advance(job, report, self.at)):
                    moves.move(job, after)

        self.run(mover.change([ref], act))
        return told

    def _mover(self, worker: Worker) -> tuple[Mover, list[Parcel]]:
        """Change jobs as a process does whose queues are those of *worker*."""
        told: list[Parcel] = []
        mover = Mover(worker.store, lambda: self.at, CHANCE.new_id, worker.queues)

        def committed(changes: Changes) -> None:
            told.extend(changes.parcels)
            worker.queues.drop(changes.superseded)
            self._hand_over(worker, [p for p in changes.parcels if p.delivery.claims])

        mover.listeners.append(committed)
        return mover, told

    def _hand_over(self, worker: Worker, parcels: Sequence[Parcel]) -> None:
        self._returned += [(worker, parcel) for parcel in worker.queues.put(parcels)]

    # What is asked and changed

    def subscription(self, hook_id: str) -> Subscription:
        return self.run(self.store.subscription("acme", hook_id))

    def deliveries(self, hook_id: str, **wanted: str) -> Sequence[Delivery]:
        return self.run(self.store.deliveries("acme", {"subscription": hook_id, **wanted}, ALL))

    def change(self, hook_id: str, change: Callable[[Subscription], Subscription]) -> None:
        """The worker that is asked knows at once; the other one has not heard of it yet."""
        self.run(self.store.change_subscription("acme", hook_id, change))
        self._withdraw(self.workers[0], hook_id)

    def delete(self, hook_id: str) -> None:
        self.run(self.store.delete_subscription("acme", hook_id, self.at))
        for worker in self.workers:
            self._withdraw(worker, hook_id)

    # What workers do

    def claim(self, worker: Worker) -> Sequence[Parcel]:
        self.give_back()
        claimed = self.run(worker.store.claim_deliveries(worker.wanted(self.at)))
        self._hand_over(worker, claimed.parcels)
        return claimed.parcels

    def give_back(self) -> None:
        """Release what is not sent, which a process does some time after it has decided so."""
        returned, self._returned = self._returned, []
        for worker, parcel in returned:
            self.run(worker.store.release([parcel.delivery], self.at))

    def start(self, worker: Worker) -> Iterator[Post]:
        """Begin as many POSTs as the queues allow, one after the other."""
        while started := worker.queues.start():
            lane, parcel = started
            turn = worker.turns.take(parcel, self.at)
            if parcel.delivery.due_at - turn < MARGIN:
                left = worker.queues.done(lane, parcel, settled=False)
                self._returned += [(worker, one) for one in left]
                continue
            post = Post(parcel, turn)
            worker.posts.append(post)
            yield post

    def settle(self, worker: Worker, post: Post, outcome: Outcome) -> None:
        parcel, (mover, _) = post.parcel, self._mover(worker)
        settlement = settle(parcel.delivery, outcome, 0, probe=parcel.probe)
        changes = self.run(mover.settle([settlement], judge))
        worker.posts.remove(post)
        lane = worker.queues.lanes[parcel.subscription.id]
        over = settlement.delivery.status is not DeliveryStatus.PENDING
        left = worker.queues.done(lane, parcel, settled=over)
        for hook_id in changes.subscriptions:
            left += worker.queues.give_back(hook_id)
        self._returned += [(worker, one) for one in left]

    def kill(self, worker: Worker) -> None:
        """End a process without a word; another one starts in its place."""
        n = self.workers.index(worker)
        self._returned = [(one, parcel) for one, parcel in self._returned if one is not worker]
        self.workers[n] = Worker(self._databases[n], alone=self._alone)
        self.run(self.workers[n].store.void_leases(self.at))

    def _withdraw(self, worker: Worker, hook_id: str) -> None:
        self._returned += [(worker, one) for one in worker.queues.give_back(hook_id)]


async def _opened(database_url: str) -> Database:
    if database_url.startswith("sqlite:"):
        return await open_sqlite(database_url)
    return await open_postgres(database_url)
