"""Transactions of the store with changes that a test has made up."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from service.domain.jobs.job import Job
from service.transactions.change_set import ChangeSet, OpenTransaction, Snapshot
from service.transactions.store_protocols import Idempotency, NewJob, Store
from service.transactions.unit_of_work import PlacementPolicy, UnitOfWork
from tests.support.factories import IDS, NO_QUEUES

Decide = Callable[[Snapshot], ChangeSet]


async def change(
    store: Store, refs: Sequence[str], decide: Decide, *, accounts: bool = False
) -> ChangeSet:
    """Write what *decide* makes of the snapshot."""
    async with store.transaction(refs, accounts=accounts) as opened:
        _copy(decide(opened.snapshot), opened.changes)
    return opened.changes


async def add_jobs(
    store: Store, new: Sequence[NewJob], key: Idempotency | None, decide: Decide
) -> tuple[Sequence[Job], ChangeSet | None]:
    """Insert *new* as *decide* changes them; no change set if *key* was used before."""
    async with store.insert_jobs(new, key) as opened:
        if opened.replayed:
            return opened.jobs, None
        _copy(decide(opened.snapshot), opened.changes)
    return [opened.changes.jobs.get(job.id, job) for job in opened.jobs], opened.changes


def nothing(_: Snapshot) -> ChangeSet:
    return ChangeSet()


def writing(**changes: Any) -> Decide:
    return lambda _: ChangeSet(**changes)


def becoming(**changes: Any) -> Decide:
    """Change every job of the snapshot alike."""
    return lambda found: ChangeSet(
        jobs={job.id: replace(job, **changes) for job in found.jobs.values()}
    )


def unit_of_work(snapshot: Snapshot, at: int, placement: PlacementPolicy = NO_QUEUES) -> UnitOfWork:
    """A unit of work of no store."""
    opened = OpenTransaction(snapshot=snapshot, changes=ChangeSet())
    return UnitOfWork(opened, at, IDS.new_id, placement)


def _copy(made: ChangeSet, changes: ChangeSet) -> None:
    for field in ChangeSet.__struct_fields__:
        setattr(changes, field, getattr(made, field))
