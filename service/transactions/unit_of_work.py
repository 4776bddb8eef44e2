"""The one path by which a job changes: its move, the event of it, and the deliveries owed."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from service.domain.deliveries.delivery import (
    HELD,
    LEASE,
    Delivery,
    DeliveryTask,
    Placement,
    new_delivery,
    recipients,
)
from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.events import Event, SystemData, event_type_of, job_event, system_event
from service.domain.jobs.job import Job
from service.domain.primitives.ids import IdFactory
from service.domain.subscriptions.subscription import Subscription, is_subscribed
from service.runtime.clock import Clock
from service.transactions.change_set import ChangeSet, Snapshot, SupersedeRange
from service.transactions.store_protocols import Idempotency, NewJob, Store


class PlacementPolicy(Protocol):
    """Says who is to carry a delivery that is being committed (`SendQueues`)."""

    def place(self, subscription: Subscription, job_id: str | None, behind: int) -> Placement:
        """*behind*: the newest earlier event of the job that is owed and not being taken here."""

    def waiting_progress(self, subscription_id: str, job_id: str) -> list[Delivery]: ...


class UnitOfWork:
    """Collects what one transaction changes; a job may move more than once in it."""

    def __init__(
        self, snapshot: Snapshot, at: int, mint: IdFactory, placement: PlacementPolicy
    ) -> None:
        self.changes, self.at = ChangeSet(), at
        self._snapshot, self._mint, self._placement = snapshot, mint, placement
        self._owed = dict(snapshot.pending)
        self._taken: dict[tuple[str, str], int] = {}

    def new_id(self, prefix: str) -> str:
        return self._mint(prefix, self.at)

    def job(self, ref: str) -> Job | None:
        """The job of submission *ref* as it stands now, moves of this transaction included."""
        job = self._snapshot.jobs.get(ref)
        return None if job is None else self.changes.jobs.get(job.id, job)

    def transition(self, before: Job | None, after: Job) -> Job:
        """Record the move from *before* (None: new) to *after*, and tell those who asked."""
        kind = event_type_of(before, after)
        if kind is not None:
            after = replace(after, sequence=after.sequence + 1)
            event = job_event(before, after, kind, self.new_id("evt"), self.at)
            self.changes.events.append(event)
            self._fan_out(event, after)
        self.changes.jobs[after.id] = after
        return after

    def transition_step(self, before: Job, after: Job) -> Job:
        """Record one of several steps, which were worked out before any was recorded."""
        return self.transition(before, replace(after, sequence=before.sequence))

    def save_silently(self, job: Job) -> None:
        """Record what only we need to know of *job*."""
        self.changes.jobs[job.id] = job

    def emit_system_event(self, kind: str, tenant: str, data: SystemData) -> None:
        """Tell a tenant something that is about no job."""
        event = system_event(kind, tenant, data, self.new_id("evt"), self.at)
        self.changes.events.append(event)
        for subscription in self._snapshot.permanent.get(tenant, ()):
            if is_subscribed(subscription, event):
                self.changes.delivery_tasks.append(self._delivery_task(event, subscription))

    def is_paused(self, account: str) -> bool:
        return account in self._snapshot.paused_accounts

    def _fan_out(self, event: Event, job: Job) -> None:
        standing = self._snapshot.permanent.get(job.tenant, ())
        reply = self._snapshot.per_job.get(job.reply_to) if job.reply_to else None
        for subscription in recipients(event, job, standing, reply):
            self.changes.delivery_tasks.append(self._delivery_task(event, subscription))

    def _delivery_task(self, event: Event, subscription: Subscription) -> DeliveryTask:
        """Owe *event* to *subscription*; it is not taken where it would overtake another."""
        pair = (event.job_id or event.id, subscription.id)
        behind = self._owed.get(pair, 0)
        self._owed[pair] = event.sequence
        if behind and subscription.delivery == "latest":
            self._supersede(event, *pair)
        ahead = 0 if self._taken.get(pair) == behind else behind
        hand = self._placement.place(subscription, event.job_id, ahead)
        delivery = new_delivery(event, subscription, self.new_id("dlv"))
        if hand is Placement.LOCAL:
            self._taken[pair] = event.sequence
            delivery = replace(delivery, claims=1, due_at=self.at + LEASE)
        elif hand is Placement.PARKED:
            delivery = replace(delivery, due_at=HELD)
        return DeliveryTask(delivery, subscription, event.payload, behind)

    def _supersede(self, event: Event, job_id: str, subscription_id: str) -> None:
        """End the progress events of the job that are not sent yet: *event* says more."""
        self.changes.supersede_ranges.append(
            SupersedeRange(
                job_id=job_id,
                subscription_id=subscription_id,
                sequence=event.sequence,
                at=self.at,
            )
        )
        waiting = self._placement.waiting_progress(subscription_id, job_id)
        self.changes.superseded += [replace(one, settled_at=self.at) for one in waiting]


class Transactions:
    """Changes jobs in the store, and tells those at work what was committed."""

    def __init__(
        self, store: Store, clock: Clock, mint: IdFactory, placement: PlacementPolicy
    ) -> None:
        self._store, self.clock, self._mint, self._placement = store, clock, mint, placement
        self.on_commit: list[Callable[[ChangeSet], None]] = []

    async def add(self, new: Sequence[NewJob], key: Idempotency | None) -> tuple[list[Job], bool]:
        """Store new jobs; False when *key* was there and these are the jobs it made before."""

        def decide(snapshot: Snapshot) -> ChangeSet:
            uow = UnitOfWork(snapshot, self.clock(), self._mint, self._placement)
            for job in snapshot.jobs.values():
                uow.transition(None, job)
            return uow.changes

        jobs, changes = await self._store.add_jobs(new, key, decide)
        if changes is not None:
            self._tell(changes)
        return jobs, changes is not None

    async def change(
        self, refs: Sequence[str], act: Callable[[UnitOfWork], None], *, accounts: bool = False
    ) -> ChangeSet:
        """Let *act* move the jobs of *refs* inside one transaction."""

        def decide(snapshot: Snapshot) -> ChangeSet:
            uow = UnitOfWork(snapshot, self.clock(), self._mint, self._placement)
            act(uow)
            return uow.changes

        changes = await self._store.change(refs, decide, accounts=accounts)
        self._tell(changes)
        return changes

    async def settle(
        self,
        updates: Sequence[DeliveryUpdate],
        judge: Callable[[UnitOfWork, Snapshot, Sequence[DeliveryUpdate]], None],
    ) -> ChangeSet:
        """Write what became of attempts, and what *judge* says of their receivers."""

        def decide(snapshot: Snapshot) -> ChangeSet:
            uow = UnitOfWork(snapshot, self.clock(), self._mint, self._placement)
            judge(uow, snapshot, updates)
            return uow.changes

        changes = await self._store.settle(updates, decide)
        self._tell(changes)
        return changes

    def _tell(self, changes: ChangeSet) -> None:
        for listener in self.on_commit:
            listener(changes)
