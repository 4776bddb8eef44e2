"""Recoveries, processed step by step."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from service.domain.deliveries.delivery import new_delivery
from service.domain.deliveries.recovery import PAGE, Recovery
from service.domain.events import Event
from service.domain.primitives.ids import IdFactory, new_id
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription
from service.transactions.store_protocols import ChangeTopic, Page
from store.engine.session import Session
from store.repositories.events import END_OF_LOG
from store.repositories.repository import Repository, fetch_one
from store.rows import (
    decode_delivery,
    decode_event,
    decode_recovery,
    decode_subscription,
    encode_delivery,
    encode_recovery,
)

CLOCK_SKEW: Final = 60 * SECOND
"""The clocks of several machines may differ by so much; event ids carry their times."""


class RecoveryRepository(Repository):
    async def add(self, recovery: Recovery) -> Recovery:
        """Insert a recovery that starts in the log at its *since*; Conflict if it cannot send."""
        async with self._database.writing() as session:
            row = await fetch_one(
                session,
                "subscription",
                "subscription",
                tenant=recovery.tenant,
                id=recovery.subscription_id,
            )
            decode_subscription(row).refuse_if_off()
            since = new_id("evt", max(0, recovery.since - CLOCK_SKEW), 0)
            first = await session.fetch("first_seq", since=since)
            started = replace(recovery, cursor=first[0]["seq"] - 1 if first else END_OF_LOG)
            await session.queue("put_recovery", **encode_recovery(started, started.created_at))
        return started

    async def get(self, tenant: str, recovery_id: str) -> Recovery:
        return decode_recovery(
            await self._fetch_one("recovery", "recovery", tenant=tenant, id=recovery_id)
        )

    async def find(self, tenant: str, page: Page) -> list[Recovery]:
        rows = await self._list("list_recoveries", {}, page, tenant=tenant)
        return [decode_recovery(row) for row in rows]

    async def cancel(self, tenant: str, recovery_id: str, at: int) -> Recovery:
        async with self._database.writing() as session:
            row = await fetch_one(session, "recovery", "recovery", tenant=tenant, id=recovery_id)
            canceled = decode_recovery(row).canceled(at)
            await session.queue("put_recovery", **encode_recovery(canceled, at))
        return canceled

    async def step(self, at: int, lease_until: int, new_id: IdFactory) -> Recovery | None:
        async with self._database.writing() as session:
            rows = await session.fetch("claim_recovery", at=at, lease_until=lease_until)
            if not rows:
                return None
            await session.queue("share_subscriptions")
            recovery = await _step(session, decode_recovery(rows[0]), at, new_id)
            await session.queue("put_recovery", **encode_recovery(recovery, at))
            await session.queue("mark_backlog", id=recovery.subscription_id)
            await self._notify(session, {ChangeTopic.DELIVERIES})
        return recovery


async def _step(session: Session, recovery: Recovery, at: int, new_id: IdFactory) -> Recovery:
    """Process the next page of the log. Its deliveries are parked until there is room."""
    subscriptions = await session.fetch("subscriptions_by_id", ids=[recovery.subscription_id])
    page = await session.fetch(
        "events_after",
        tenant=recovery.tenant,
        seq=recovery.cursor,
        until=recovery.until,
        limit=PAGE,
    )
    if not subscriptions or not page:
        return recovery.done(at)
    to = decode_subscription(subscriptions[0])
    events = [decode_event(row) for row in page]
    covered = [event for event in events if recovery.covers(event, to)]
    sent_again = await _resend(session, recovery, to, covered, lambda: new_id("dlv", at))
    return replace(
        recovery,
        cursor=events[-1].seq,
        looked_at=recovery.looked_at + len(covered),
        sent_again=recovery.sent_again + sent_again,
    )


async def _resend(
    session: Session,
    recovery: Recovery,
    to: Subscription,
    events: Sequence[Event],
    new_id: Callable[[], str],
) -> int:
    """Park a delivery of each event that *to* has not received; returns how many."""
    ids = [event.id for event in events]
    rows = await session.fetch("deliveries_of", subscription=to.id, ids=ids)
    existing = {row["event_id"]: decode_delivery(row) for row in rows}
    again = [delivery for delivery in existing.values() if recovery.resends(delivery)]
    missed = [event for event in events if event.id not in existing]
    if not recovery.resends_missed(to):
        missed = []
    new = [replace(new_delivery(event, to, new_id()), due_at=None) for event in missed]
    await session.queue_many(
        "redeliver", [{"tenant": to.tenant, "id": one.id, "at": None} for one in again]
    )
    await session.queue_many("add_delivery", map(encode_delivery, new))
    return len(again) + len(new)
