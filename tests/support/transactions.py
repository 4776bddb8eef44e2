"""Transactions of the store with change sets that a test provides."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from service.domain.jobs.job import Job
from service.transactions.change_set import ChangeSet, OpenTransaction, Snapshot
from service.transactions.store_protocols import Idempotency, NewJob, Store
from service.transactions.unit_of_work import PlacementPolicy, UnitOfWork
from tests.support.factories import IDS, NO_QUEUES

Decide = Callable[[Snapshot], ChangeSet]
"""Returns the changes that a transaction writes after it has read the snapshot."""


async def change(
    store: Store, refs: Sequence[str], decide: Decide, *, accounts: bool = False
) -> ChangeSet:
    """Run one transaction that writes the changes of *decide*."""
    async with store.transaction(refs, accounts=accounts) as opened:
        _copy(decide(opened.snapshot), opened.changes)
    return opened.changes


async def add_jobs(
    store: Store, new: Sequence[NewJob], key: Idempotency | None, decide: Decide
) -> tuple[Sequence[Job], ChangeSet | None]:
    """Insert *new* with the changes of *decide*; no change set if *key* was used before."""
    async with store.insert_jobs(new, key) as opened:
        if opened.replayed:
            return opened.jobs, None
        _copy(decide(opened.snapshot), opened.changes)
    return [opened.changes.jobs.get(job.id, job) for job in opened.jobs], opened.changes


def no_changes(_: Snapshot) -> ChangeSet:
    return ChangeSet()


def write(**changes: Any) -> Decide:
    """Write *changes*, whatever the snapshot contains."""
    return lambda _: ChangeSet(**changes)


def update_jobs(**fields: Any) -> Decide:
    """Set *fields* of every job of the snapshot."""
    return lambda snapshot: ChangeSet(
        jobs={job.id: replace(job, **fields) for job in snapshot.jobs.values()}
    )


class SnapshotRecorder:
    """Changes nothing and keeps a copy of every snapshot."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def __call__(self, snapshot: Snapshot) -> ChangeSet:
        self.snapshots.append(replace(snapshot, permanent=dict(snapshot.permanent)))
        return ChangeSet()


def unit_of_work(snapshot: Snapshot, at: int, placement: PlacementPolicy = NO_QUEUES) -> UnitOfWork:
    """A unit of work without a store."""
    opened = OpenTransaction(snapshot=snapshot, changes=ChangeSet())
    return UnitOfWork(opened, at, IDS.new_id, placement)


def _copy(source: ChangeSet, target: ChangeSet) -> None:
    for field in ChangeSet.__struct_fields__:
        setattr(target, field, getattr(source, field))
