"""Reading what a change needs and writing what it decided: the hot path of the store."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import asdict

from service.domain.callbacks import Verdict
from service.domain.deliveries.delivery import HELD
from service.domain.jobs.job import Job
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, Snapshot
from store.engine.session import Session
from store.rows import (
    answer_row,
    callback_row,
    event_row,
    health_row,
    hold_row,
    job_of,
    job_row,
    parcel_row,
    subscription_of,
    subscription_row,
    superseded_row,
    verdict_row,
)


class SubscriptionCache:
    """The standing subscriptions by tenant, read again only when their revision has changed."""

    def __init__(self) -> None:
        self._revision = 0
        self._by_tenant: dict[str, list[Subscription]] = {}

    async def at(self, session: Session, revision: int) -> Mapping[str, Sequence[Subscription]]:
        if revision == self._revision:
            return self._by_tenant
        found: dict[str, list[Subscription]] = {}
        for row in await session.fetch("standing"):
            subscription = subscription_of(row)
            found.setdefault(subscription.tenant, []).append(subscription)
        if revision > self._revision:  # another transaction of ours may have read a later one
            self._revision, self._by_tenant = revision, found
        return found


async def snapshot(session: Session, standing: SubscriptionCache, refs: Sequence[str]) -> Snapshot:
    await session.queue("share_subscriptions")
    asked = list(refs)
    await session.queue("lock_jobs", refs=asked)
    rows = await session.fetch("jobs_by_ref", refs=asked)
    jobs = {row["ref"]: job_of(row) for row in rows}
    owed = [job_of(row).id for row in rows if row["owed"]]
    return Snapshot(
        jobs=jobs,
        permanent=await standing.at(session, rows[0]["revision"]) if rows else {},
        per_job=await replies(session, jobs.values()),
        pending=await _owed(session, owed) if owed else {},
    )


async def replies(session: Session, jobs: Iterable[Job]) -> dict[str, Subscription]:
    ids = sorted({job.reply_to for job in jobs if job.reply_to})
    rows = await session.fetch("subscriptions_by_id", ids=ids) if ids else []
    return {row["id"]: subscription_of(row) for row in rows}


async def _owed(session: Session, jobs: Sequence[str]) -> dict[tuple[str, str], int]:
    rows = await session.fetch("owed_pairs", jobs=jobs)
    return {(row["job_id"], row["subscription_id"]): row["sequence"] for row in rows}


async def write(session: Session, changes: ChangeSet) -> None:
    """Write *changes*; many rows of a kind are one statement."""
    await _write_callbacks(session, changes)
    await _many(session, "move_job", map(job_row, changes.jobs.values()))
    await _many(session, "answer_submission", map(answer_row, changes.responses))
    await _many(session, "add_submission", map(asdict, changes.submissions))
    await _many(session, "rejudge_callback", map(verdict_row, changes.reassessed))
    await _many(session, "settle_callbacks", map(asdict, changes.resolutions))
    checked = (
        {"id": one.job.id, "lease_until": one.lease_until} for one in changes.finished_checks
    )
    await _many(session, "end_check", checked)
    await write_events(session, changes)
    await _many(session, "hold_account", (hold_row(*each) for each in changes.holds.items()))
    await _many(
        session, "resume_account", ({"account": one} for one in sorted(changes.resumed_accounts))
    )


async def write_events(session: Session, changes: ChangeSet) -> None:
    if changes.events:
        await session.queue("lock_log")
        await _many(session, "add_event", map(event_row, changes.events))
    if changes.supersede_ranges:
        await _many(session, "supersede", map(asdict, changes.supersede_ranges))
    await _many(session, "supersede_claimed", map(superseded_row, changes.superseded))
    await _many(session, "add_delivery", map(parcel_row, changes.delivery_tasks))
    await _many(session, "mark_backlog", ({"id": one} for one in sorted(_backlogs(changes))))


def _backlogs(changes: ChangeSet) -> set[str]:
    """Who has something parked; one that is not open has a backlog once it is, a rate never."""
    parked = [p.subscription for p in changes.delivery_tasks if p.delivery.due_at >= HELD]
    return {one.id for one in parked if one.deliverable and not one.rate_limit}


async def write_receivers(session: Session, changes: ChangeSet) -> None:
    """Write how receivers fare; whether one is open concerns all who fan out."""
    for subscription_id, health in sorted(changes.health.items()):
        if health is None:
            await session.queue("delete_health", id=subscription_id)
        else:
            await session.queue("put_health", **health_row(health))
    for subscription in changes.subscriptions.values():
        await session.queue("put_subscription", **subscription_row(subscription))
    if changes.subscriptions:
        await session.queue("revise")


async def _write_callbacks(session: Session, changes: ChangeSet) -> None:
    """Only a callback that moved nothing can be a repetition, so only those are asked about."""
    moved = [c for c in changes.callbacks if c.verdict is Verdict.ACCEPTED]
    await _many(session, "add_callback", map(callback_row, moved))
    for callback in changes.callbacks:
        if callback.verdict is not Verdict.ACCEPTED:
            rows = await session.fetch("take_callback", **callback_row(callback))
            if rows[0]["repeats"]:
                changes.repeated_callbacks.add(callback.id)


async def _many(session: Session, query: str, rows: Iterable[Mapping[str, object]]) -> None:
    if batch := list(rows):
        await session.queue_many(query, batch)
