"""Reads what a transaction needs and writes its change set: the hot path of the store."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import asdict

from service.domain.callbacks import Verdict
from service.domain.deliveries.retry_policy import DeliveryUpdate
from service.domain.jobs.job import Job, Status
from service.domain.jobs.moderation import WINDOW, ModerationHistory
from service.domain.jobs.results import ErrorCode
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, PauseKey, Snapshot
from service.transactions.slots import AccountPause
from service.transactions.store_protocols import ChangeTopic
from store.engine.session import Session, Values
from store.rows import (
    decode_health,
    decode_job,
    decode_pause,
    decode_subscription,
    encode_attempt,
    encode_callback,
    encode_delivery,
    encode_event,
    encode_health,
    encode_hold,
    encode_job,
    encode_pause,
    encode_subscription,
    encode_update,
)


class SubscriptionCache:
    """The permanent subscriptions by tenant, read again when their version has changed."""

    def __init__(self) -> None:
        self._version = 0
        self._by_tenant: dict[str, list[Subscription]] = {}

    async def at(self, session: Session, version: int) -> Mapping[str, Sequence[Subscription]]:
        if version == self._version:
            return self._by_tenant
        found: dict[str, list[Subscription]] = {}
        for row in await session.fetch("permanent_subscriptions"):
            subscription = decode_subscription(row)
            found.setdefault(subscription.tenant, []).append(subscription)
        if version > self._version:  # a transaction at the same time may have read a later one
            self._version, self._by_tenant = version, found
        return found


async def read_jobs(
    session: Session, cache: SubscriptionCache, refs: Sequence[str], *, accounts: bool
) -> Snapshot:
    """Lock and read the jobs of *refs*, and the subscriptions their events may go to.

    The pauses of accounts are read with *accounts*, or if one may concern a job.
    """
    await session.queue("share_subscriptions")
    await session.queue("lock_jobs", refs=list(refs))
    rows = await session.fetch("jobs_by_ref", refs=list(refs))
    jobs = {row["ref"]: decode_job(row) for row in rows}
    with_pending = [jobs[row["ref"]].id for row in rows if row["has_pending"]]
    pairs = await session.fetch("pending_pairs", jobs=with_pending) if with_pending else []
    return Snapshot(
        jobs=jobs,
        permanent=await cache.at(session, rows[0]["version"]) if rows else {},
        per_job=await read_reply_subscriptions(session, jobs.values()),
        pending={(row["job_id"], row["subscription_id"]): row["sequence"] for row in pairs},
        pauses=await _lock_pauses(session)
        if accounts or any(row["may_be_paused"] for row in rows)
        else {},
    )


async def _lock_pauses(session: Session) -> dict[PauseKey, AccountPause]:
    await session.queue("lock_accounts")
    pauses = map(decode_pause, await session.fetch("account_pauses"))
    return {(pause.account, pause.scope): pause for pause in pauses}


async def read_reply_subscriptions(
    session: Session, jobs: Iterable[Job]
) -> dict[str, Subscription]:
    ids = sorted({job.reply_subscription_id for job in jobs if job.reply_subscription_id})
    rows = await session.fetch("subscriptions_by_id", ids=ids) if ids else []
    return {row["id"]: decode_subscription(row) for row in rows}


async def read_receivers(
    session: Session, cache: SubscriptionCache, updates: Sequence[DeliveryUpdate]
) -> Snapshot:
    """Read the receivers of attempts, and lock all subscriptions, if one failed now or before.

    Their health is read again under the lock, because another process may have changed it.
    """
    ids = sorted({update.delivery.subscription_id for update in updates})
    health = await session.fetch("receiver_health", ids=ids)
    if not health and all(update.result.success for update in updates):
        return Snapshot(jobs={}, permanent={})
    await session.queue("lock_subscriptions")
    found = await session.fetch_all(
        subscriptions_version={}, subscriptions_by_id={"ids": ids}, receiver_health={"ids": ids}
    )
    version = found["subscriptions_version"][0]["version"]
    return Snapshot(
        jobs={},
        permanent=await cache.at(session, version),
        receivers={row["id"]: decode_subscription(row) for row in found["subscriptions_by_id"]},
        health={row["subscription_id"]: decode_health(row) for row in found["receiver_health"]},
    )


async def read_moderation(
    session: Session, accounts: Sequence[str], without: Sequence[str]
) -> dict[str, ModerationHistory]:
    """Lock and read the moderation histories of *accounts*, without the jobs *without*."""
    await session.queue("lock_moderation")
    rows = await session.fetch("moderation_warned", accounts=list(accounts))
    warned, histories = {row["account"] for row in rows}, {}
    for account in accounts:
        rows = await session.fetch(
            "last_ended_jobs", account=account, without=list(without), limit=WINDOW
        )
        moderated = (row["error_code"] == ErrorCode.MODERATED for row in rows)
        histories[account] = ModerationHistory(tuple(moderated), account in warned)
    return histories


async def write_changes(session: Session, changes: ChangeSet) -> None:
    """Write all of *changes*; many rows of a kind are one statement."""
    await _write_callbacks(session, changes)
    await _queue_many(session, "update_job", map(encode_job, changes.jobs.values()))
    await _queue_many(session, "store_response", map(asdict, changes.responses))
    await _queue_many(session, "add_submission", map(asdict, changes.submissions))
    await _queue_many(session, "reassess_callback", map(encode_callback, changes.reassessed))
    await _queue_many(session, "resolve_callbacks", map(asdict, changes.resolutions))
    await _queue_many(
        session,
        "end_check",
        ({"id": one.job.id, "lease_until": one.lease_until} for one in changes.finished_checks),
    )
    await write_events(session, changes)
    holds = (encode_hold(account, hold) for account, hold in changes.holds.items())
    await _queue_many(session, "hold_account", holds)
    for (account, scope), pause in sorted(changes.pauses.items()):
        if pause is None:
            await session.queue("delete_account_pause", account=account, scope=scope.value)
        else:
            await session.queue("put_account_pause", **encode_pause(pause))
    warned = (
        {"account": account, "warned": int(is_warned)}
        for account, is_warned in sorted(changes.moderation_warned.items())
    )
    await _queue_many(session, "put_moderation_warned", warned)


async def write_events(session: Session, changes: ChangeSet) -> None:
    """Write the events, their deliveries, and what these supersede."""
    if changes.events:
        await session.queue("lock_event_log")
        await _queue_many(session, "add_event", map(encode_event, changes.events))
    await _queue_many(session, "supersede_range", map(asdict, changes.supersede_ranges))
    superseded = (
        {"id": one.id, "lease_version": one.lease_version, "at": one.settled_at}
        for one in changes.superseded
    )
    await _queue_many(session, "supersede_leased", superseded)
    deliveries = (encode_delivery(task.delivery) for task in changes.delivery_tasks)
    await _queue_many(session, "add_delivery", deliveries)
    # A subscription that is not deliverable gets its backlog checked when it becomes so, and one
    # with a rate limit is always checked.
    backlogs = {
        task.subscription.id
        for task in changes.delivery_tasks
        if task.delivery.due_at is None
        and task.subscription.deliverable
        and not task.subscription.rate_limit
    }
    await _queue_many(session, "mark_backlog", ({"id": one} for one in sorted(backlogs)))


async def write_attempts(
    session: Session, updates: Sequence[DeliveryUpdate], changes: ChangeSet
) -> None:
    """Write attempts, the deliveries after them, and the health of their receivers."""
    ordered = sorted(updates, key=lambda update: update.delivery.id)
    await session.queue_many("update_delivery", map(encode_update, ordered))
    await session.queue_many("add_attempt", map(encode_attempt, ordered))
    for subscription_id, health in sorted(changes.health.items()):
        if health is None:
            await session.queue("delete_receiver_health", id=subscription_id)
        else:
            await session.queue("put_receiver_health", **encode_health(health))
    for subscription in changes.subscriptions.values():
        await session.queue("put_subscription", **encode_subscription(subscription))
    if changes.subscriptions:
        await session.queue("bump_subscriptions_version")
    await write_events(session, changes)


def topics_of(changes: ChangeSet) -> set[ChangeTopic]:
    """What *changes* give other processes to do."""
    topics = set()
    if changes.events:
        topics.add(ChangeTopic.EVENTS)
    if any(task.needs_claim for task in changes.delivery_tasks):
        topics.add(ChangeTopic.DELIVERIES)
    queued_or_ended = any(job.ended or job.status is Status.QUEUED for job in changes.jobs.values())
    if queued_or_ended or None in changes.pauses.values():
        topics.add(ChangeTopic.JOBS)
    if changes.subscriptions:
        topics.add(ChangeTopic.SUBSCRIPTIONS)
    return topics


async def _write_callbacks(session: Session, changes: ChangeSet) -> None:
    """Write callbacks; only one that moved nothing can repeat an earlier one."""
    moved = [one for one in changes.callbacks if one.verdict is Verdict.ACCEPTED]
    await _queue_many(session, "upsert_callback", map(encode_callback, moved))
    for callback in changes.callbacks:
        if callback.verdict is not Verdict.ACCEPTED:
            rows = await session.fetch("insert_or_count_callback", **encode_callback(callback))
            if rows[0]["repeats"]:
                changes.repeated_callbacks.add(callback.id)


async def _queue_many(session: Session, query: str, rows: Iterable[Values]) -> None:
    if batch := list(rows):
        await session.queue_many(query, batch)
