"""Couriers without sockets and clocks: what a test tells them, with the real store and lanes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from service.deliveries import (
    ATTEMPT_SECONDS,
    LEASE,
    Delivery,
    DeliveryStatus,
    Hand,
    Outcome,
    Parcel,
    settle,
)
from service.jobs import Report, advance
from service.lanes import Lane, Turns
from service.moves import Mover, Moves
from service.ports import Claim, NewJob, Page
from service.receivers import judge
from service.subscriptions import Subscription
from service.times import SECOND
from store.database import Database
from store.postgres import open_postgres
from store.sql import SqlStore
from store.sqlite import open_sqlite
from tests.makers import CHANCE, NOON

T = TypeVar("T")
ALL = Page(limit=100)
FEW = 6
MARGIN = (ATTEMPT_SECONDS + 5) * SECOND


class Post(msgspec.Struct, frozen=True):
    """A parcel under way since *at*."""

    parcel: Parcel
    at: int


class Worker:
    """One process: its store, its lanes, and its POSTs under way."""

    def __init__(self, database: Database) -> None:
        self.store, self.posts = SqlStore(database), list[Post]()
        self.lanes: dict[str, Lane] = {}
        self.turns = Turns()

    def wanted(self, at: int) -> Claim:
        return Claim(
            at=at,
            lease_until=at + LEASE,
            limit=FEW,
            kept=list(self.lanes),
            full=[key for key, lane in self.lanes.items() if lane.full],
            turns=self.turns.put_off(at),
        )

    def lane(self, parcel: Parcel) -> Lane:
        return self.lanes.setdefault(parcel.subscription.id, Lane(parcel.subscription))


class House:
    """Some workers on one database, and the time."""

    def __init__(self, database_url: str, workers: int) -> None:
        self._runner, self.at = asyncio.Runner(), 0
        self._databases = [self.run(_opened(database_url)) for _ in range(workers)]
        self.workers = [Worker(database) for database in self._databases]

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
        mover, told = self._mover(self.store)
        self.run(mover.add([new], None))
        return told

    def report(self, ref: str, report: Report) -> Sequence[Parcel]:
        mover, told = self._mover(self.store)

        def act(moves: Moves) -> None:
            job = moves.job(ref)
            if job is not None and (after := advance(job, report, self.at)):
                moves.move(job, after)

        self.run(mover.change([ref], act))
        return told

    def _mover(self, store: SqlStore) -> tuple[Mover, list[Parcel]]:
        told: list[Parcel] = []
        mover = Mover(store, lambda: self.at, CHANCE.new_id, _left)
        mover.listeners.append(lambda changes: told.extend(changes.parcels))
        return mover, told

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
        claimed = self.run(worker.store.claim_deliveries(worker.wanted(self.at)))
        for parcel in claimed.parcels:
            old = worker.lane(parcel).outdated(parcel)
            self.run(worker.store.supersede([one.delivery for one in old], self.at))
            if not worker.lane(parcel).put(parcel):
                self._release(worker, [parcel])
        return claimed.parcels

    def start(self, worker: Worker) -> Iterator[Post]:
        """Begin as many POSTs as the lanes allow, one after the other."""
        for lane in list(worker.lanes.values()):
            while lane.wants_hands and (parcel := lane.next()):
                turn = worker.turns.take(parcel, self.at)
                if parcel.delivery.due_at - turn < MARGIN:
                    self._release(worker, lane.done(parcel, settled=False))
                    continue
                post = Post(parcel, turn)
                lane.active += 1
                worker.posts.append(post)
                yield post

    def settle(self, worker: Worker, post: Post, outcome: Outcome) -> None:
        parcel, (mover, _) = post.parcel, self._mover(worker.store)
        settlement = settle(parcel.delivery, outcome, 0, probe=parcel.probe)
        changes = self.run(mover.settle([settlement], judge))
        worker.posts.remove(post)
        lane = worker.lane(parcel)
        lane.active -= 1
        over = settlement.delivery.status is not DeliveryStatus.PENDING
        self._release(worker, lane.done(parcel, settled=over))
        for hook_id in {*changes.subscriptions, parcel.subscription.id}:
            if hook_id in changes.subscriptions:
                self._withdraw(worker, hook_id)
            self._sweep(worker, hook_id)

    def kill(self, worker: Worker) -> None:
        """End a process without a word; another one starts in its place."""
        n = self.workers.index(worker)
        self.workers[n] = Worker(self._databases[n])
        self.run(self.workers[n].store.void_leases(self.at))

    def _withdraw(self, worker: Worker, hook_id: str) -> None:
        if lane := worker.lanes.get(hook_id):
            self._release(worker, lane.give_back())
            self._sweep(worker, hook_id)

    def _release(self, worker: Worker, parcels: Sequence[Parcel]) -> None:
        self.run(worker.store.release([parcel.delivery for parcel in parcels], self.at))

    def _sweep(self, worker: Worker, hook_id: str) -> None:
        lane = worker.lanes.get(hook_id)
        if lane is not None and lane.held == lane.active == 0:
            del worker.lanes[hook_id]


async def _opened(database_url: str) -> Database:
    if database_url.startswith("sqlite:"):
        return await open_sqlite(database_url)
    return await open_postgres(database_url)


def _left(subscription: Subscription, *_: object) -> Hand:
    """As the courier of a process that shares its database."""
    closed = not subscription.is_open or subscription.rate_limit
    return Hand.PARKED if closed else Hand.LEFT
