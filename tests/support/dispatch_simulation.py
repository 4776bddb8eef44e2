"""Couriers without sockets and clocks: what a test tells them, with the real store and lanes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from service.domain.deliveries.delivery import LEASE, Delivery, DeliveryStatus, DeliveryTask
from service.domain.deliveries.retry_policy import ATTEMPT_SECONDS, AttemptResult, after_attempt
from service.domain.deliveries.send_queue import SendPacer, SendQueues
from service.domain.jobs.job import Report
from service.domain.jobs.state_machine import apply_report
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet
from service.transactions.receiver_health import update_health
from service.transactions.store_protocols import ClaimRequest, NewJob, Page
from service.transactions.unit_of_work import Transactions, UnitOfWork
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

    task: DeliveryTask
    at: int


class Worker:
    """One process: its store, its queues, and its POSTs under way."""

    def __init__(self, database: Database, *, alone: bool) -> None:
        self.store, self.posts = SqlStore(database), list[Post]()
        self.queues = SendQueues(MOST_POSTS, alone=alone, room=ROOM)
        self.queues.is_open = True
        self.turns = SendPacer()

    def wanted(self, at: int) -> ClaimRequest:
        return ClaimRequest(
            at=at,
            lease_until=at + LEASE,
            limit=FEW,
            queued_for=list(self.queues.by_subscription),
            full=self.queues.full,
            next_sends=self.turns.delayed(at),
        )


class House:
    """Some workers on one database, and the time."""

    def __init__(self, database_url: str, workers: int) -> None:
        self._runner, self.at = asyncio.Runner(), 0
        self._returned: list[tuple[Worker, DeliveryTask]] = []
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

    def add(self, new: NewJob) -> Sequence[DeliveryTask]:
        transactions, told = self._transactions(self.workers[0])
        self.run(transactions.add([new], None))
        return told

    def report(self, ref: str, *reports: Report) -> Sequence[DeliveryTask]:
        """Have one transaction apply *reports* to the job, each an event of its own."""
        transactions, told = self._transactions(self.workers[0])

        def act(uow: UnitOfWork) -> None:
            for report in reports:
                job = uow.job(ref)
                if job is not None and (after := apply_report(job, report, self.at)):
                    uow.transition(job, after)

        self.run(transactions.change([ref], act))
        return told

    def _transactions(self, worker: Worker) -> tuple[Transactions, list[DeliveryTask]]:
        """Change jobs as a process does whose queues are those of *worker*."""
        told: list[DeliveryTask] = []
        transactions = Transactions(worker.store, lambda: self.at, CHANCE.new_id, worker.queues)

        def committed(changes: ChangeSet) -> None:
            told.extend(changes.delivery_tasks)
            worker.queues.drop(changes.superseded)
            self._hand_over(worker, [p for p in changes.delivery_tasks if p.delivery.claims])

        transactions.on_commit.append(committed)
        return transactions, told

    def _hand_over(self, worker: Worker, tasks: Sequence[DeliveryTask]) -> None:
        self._returned += [(worker, task) for task in worker.queues.put(tasks)]

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

    def claim(self, worker: Worker) -> Sequence[DeliveryTask]:
        self.give_back()
        claimed = self.run(worker.store.claim_deliveries(worker.wanted(self.at)))
        self._hand_over(worker, claimed.tasks)
        return claimed.tasks

    def give_back(self) -> None:
        """Release what is not sent, which a process does some time after it has decided so."""
        returned, self._returned = self._returned, []
        for worker, task in returned:
            self.run(worker.store.release([task.delivery], self.at))

    def start(self, worker: Worker) -> Iterator[Post]:
        """Begin as many POSTs as the queues allow, one after the other."""
        while started := worker.queues.start():
            queue, task = started
            turn = worker.turns.next_send(task, self.at)
            if task.delivery.due_at - turn < MARGIN:
                left = worker.queues.done(queue, task, settled=False)
                self._returned += [(worker, one) for one in left]
                continue
            post = Post(task, turn)
            worker.posts.append(post)
            yield post

    def settle(self, worker: Worker, post: Post, outcome: AttemptResult) -> None:
        task, (transactions, _) = post.task, self._transactions(worker)
        settlement = after_attempt(task.delivery, outcome, 0, probe=task.probe)
        changes = self.run(transactions.settle([settlement], update_health))
        worker.posts.remove(post)
        queue = worker.queues.by_subscription[task.subscription.id]
        over = settlement.delivery.status is not DeliveryStatus.PENDING
        left = worker.queues.done(queue, task, settled=over)
        for hook_id in changes.subscriptions:
            left += worker.queues.release(hook_id)
        self._returned += [(worker, one) for one in left]

    def kill(self, worker: Worker) -> None:
        """End a process without a word; another one starts in its place."""
        n = self.workers.index(worker)
        self._returned = [(one, task) for one, task in self._returned if one is not worker]
        self.workers[n] = Worker(self._databases[n], alone=self._alone)
        self.run(self.workers[n].store.void_leases(self.at))

    def _withdraw(self, worker: Worker, hook_id: str) -> None:
        self._returned += [(worker, one) for one in worker.queues.release(hook_id)]


async def _opened(database_url: str) -> Database:
    if database_url.startswith("sqlite:"):
        return await open_sqlite(database_url)
    return await open_postgres(database_url)
