"""Simulated dispatchers: the service's own queues, inbox and store, without sockets and clock."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from service.domain.deliveries.delivery import LEASE, Delivery, DeliveryStatus, DeliveryTask
from service.domain.deliveries.retry_policy import AttemptResult, after_attempt
from service.domain.deliveries.send_queue import SendQueues
from service.domain.jobs.job import Report
from service.domain.jobs.state_machine import apply_report
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet
from service.transactions.receiver_health import update_health
from service.transactions.store_protocols import NewJob, Page
from service.transactions.unit_of_work import Transactions
from service.workers.dispatcher import DispatchInbox
from store.engine.postgres import open_postgres
from store.engine.session import Database
from store.engine.sqlite import open_sqlite
from store.sql_store import SqlStore
from tests.support.factories import IDS, T0

T = TypeVar("T")
ALL = Page(limit=10_000)
CLAIM_LIMIT = 6
MAX_POSTS = 5
"""Low, so that subscriptions wait for each other."""
MAX_QUEUED = 4
"""Low, so that further deliveries are parked."""


class Post(msgspec.Struct, frozen=True):
    """An attempt in flight since *at*, in microseconds."""

    task: DeliveryTask
    at: int


class SimulatedProcess:
    """One process: its store, its inbox, its transactions, and its attempts in flight."""

    def __init__(self, database: Database, clock: Callable[[], int], *, alone: bool) -> None:
        self.store, self.posts = SqlStore(database), list[Post]()
        self.queues = SendQueues(MAX_POSTS, alone=alone, max_queued=MAX_QUEUED)
        self.queues.accepts_work = True
        self.inbox = DispatchInbox(self.queues)
        self.created: list[DeliveryTask] = []
        hooks = (self.inbox.on_commit, self._note_created)
        self.transactions = Transactions(self.store, clock, IDS.new_id, self.queues, hooks)

    def _note_created(self, changes: ChangeSet) -> None:
        self.created = list(changes.delivery_tasks)


class SimulatedCluster:
    """Several processes on one database, and their clock: *at*, in microseconds."""

    def __init__(self, database_url: str, processes: int) -> None:
        self._runner, self.at = asyncio.Runner(), 0
        self._databases = [self.run(_open(database_url)) for _ in range(processes)]
        self._alone = processes == 1
        self.processes = [self._process(database) for database in self._databases]

    def _process(self, database: Database) -> SimulatedProcess:
        return SimulatedProcess(database, lambda: self.at, alone=self._alone)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        for process in self.processes:
            self.run(process.store.close())
        self._runner.close()

    @property
    def store(self) -> SqlStore:
        return self.processes[0].store

    def begin(self) -> None:
        """Start a new example: no subscriptions, no pending deliveries, all processes new."""
        self.at = max(T0, self.at + LEASE)
        for process in list(self.processes):
            self.kill(process)
        for subscription in self.run(self.store.subscriptions.find("acme", {}, ALL)):
            self.delete(subscription.id)

    # Events

    def add(self, new: NewJob) -> Sequence[DeliveryTask]:
        process = self.processes[0]
        self.run(process.transactions.add_jobs([new], None))
        return process.created

    def report(self, ref: str, *reports: Report) -> Sequence[DeliveryTask]:
        """Apply *reports* to the job in one transaction, one event for each."""
        process = self.processes[0]

        async def apply() -> None:
            async with process.transactions.begin([ref]) as uow:
                for report in reports:
                    job = uow.job(ref)
                    if job is not None and (after := apply_report(job, report, self.at)):
                        uow.transition(job, after)

        self.run(apply())
        return process.created

    # Subscriptions and deliveries

    def subscription(self, subscription_id: str) -> Subscription:
        return self.run(self.store.subscriptions.get("acme", subscription_id))

    def deliveries(self, subscription_id: str, **filters: str) -> Sequence[Delivery]:
        filters = {"subscription": subscription_id, **filters}
        return self.run(self.store.deliveries.find("acme", filters, ALL))

    def change(self, subscription_id: str, change: Callable[[Subscription], Subscription]) -> None:
        """Change a subscription in the first process; the other one is not notified."""
        self.run(self.store.subscriptions.change("acme", subscription_id, change))
        self.processes[0].inbox.release_queued(subscription_id)

    def delete(self, subscription_id: str) -> None:
        self.run(self.store.subscriptions.delete("acme", subscription_id, self.at))
        for process in self.processes:
            process.inbox.release_queued(subscription_id)

    # Dispatching

    def claim(self, process: SimulatedProcess) -> Sequence[DeliveryTask]:
        self.release()
        request = process.inbox.begin_claim(self.at, CLAIM_LIMIT)
        claimed = self.run(process.store.deliveries.claim(request))
        process.inbox.end_claim(claimed.tasks)
        return claimed.tasks

    def release(self) -> None:
        """Return released tasks to the store, which a real process does with a delay."""
        for process in self.processes:
            for task in process.inbox.take_released():
                self.run(process.store.deliveries.release([task.delivery], self.at))

    def start(self, process: SimulatedProcess) -> Iterator[Post]:
        """Start as many attempts as the queues allow."""
        while started := process.queues.start():
            queue, task = started
            send_at = process.inbox.reserve_send_time(task, self.at)
            if send_at is None:
                process.inbox.done(queue, task, settled=False)
                continue
            post = Post(task, send_at)
            process.posts.append(post)
            yield post

    def settle(self, process: SimulatedProcess, post: Post, result: AttemptResult) -> None:
        task, process.created = post.task, []
        update = after_attempt(task.delivery, result, 0, probe=task.probe)
        queue = process.queues.by_subscription[task.subscription.id]

        async def record() -> None:
            async with process.transactions.record_attempts([update]) as uow:
                update_health(uow, [update])

        self.run(record())
        process.posts.remove(post)
        settled = update.delivery.status is not DeliveryStatus.PENDING
        process.inbox.done(queue, task, settled=settled)

    def kill(self, process: SimulatedProcess) -> None:
        """Kill a process; a new one starts in its place."""
        n = self.processes.index(process)
        self.processes[n] = self._process(self._databases[n])
        self.run(self.processes[n].store.expire_leases(self.at))


async def _open(database_url: str) -> Database:
    if database_url.startswith("sqlite:"):
        return await open_sqlite(database_url)
    return await open_postgres(database_url)
