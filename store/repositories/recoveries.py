"""Recoveries in the store: recoveries, step by step, and single events sent again."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.deliveries.delivery import HELD, Delivery, DeliveryStatus, new_delivery
from service.domain.deliveries.recovery import PAGE, Recovery
from service.domain.events import Event
from service.domain.primitives import ids
from service.domain.primitives.errors import Conflict
from service.domain.primitives.ids import IdFactory
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription, accepts, matches_type
from service.transactions.store_protocols import ChangeTopic, Page
from store.engine.session import Row, Session
from store.repositories.repository import Repository, one
from store.rows import delivery_of, delivery_row, event_of, subscription_of, subscription_row

_GIVEN_UP: Final = (DeliveryStatus.DEAD, DeliveryStatus.CANCELED)
_END: Final = 2**62
_recovery: Final = msgspec.json.Decoder(Recovery).decode
_CLOCKS: Final = 60 * SECOND
"""Events of several machines are numbered by clocks that may differ a little."""


class RecoveryRepository(Repository):
    async def add_recovery(self, recovery: Recovery) -> Recovery:
        """Begin a recovery where the log stood at its time; Conflict if it could send nothing."""
        async with self._database.writing() as session:
            row = await one(
                session,
                "subscription",
                "subscription",
                tenant=recovery.tenant,
                id=recovery.subscription_id,
            )
            refuse_closed(subscription_of(row))
            since = ids.new_id("evt", max(0, recovery.since - _CLOCKS), 0)
            first = await session.fetch("first_seq", since=since)
            begun = replace(recovery, cursor=first[0]["seq"] - 1 if first else _END)
            await session.queue("put_recovery", **_row(begun, begun.created_at))
        return begun

    async def recovery(self, tenant: str, recovery_id: str) -> Recovery:
        row = await self._one("recovery", "recovery", tenant=tenant, id=recovery_id)
        return _recovery(row["doc"])

    async def recoveries(self, tenant: str, page: Page) -> list[Recovery]:
        rows = await self._list({"": "list_recoveries"}, {}, {}, page, tenant=tenant)
        return [_recovery(row["doc"]) for row in rows]

    async def cancel_recovery(self, tenant: str, recovery_id: str, at: int) -> Recovery:
        async with self._database.writing() as session:
            row = await one(session, "recovery", "recovery", tenant=tenant, id=recovery_id)
            recovery = _recovery(row["doc"])
            if recovery.status == "done":
                raise Conflict("The recovery is done.")
            ended = replace(recovery, status="canceled", finished_at=at)
            await session.queue("put_recovery", **_row(ended, at))
        return ended

    async def recover_step(self, at: int, lease_until: int, mint: IdFactory) -> Recovery | None:
        """Go one page further in a running recovery; None when there is none."""
        async with self._database.writing() as session:
            rows = await session.fetch("claim_recovery", at=at, lease_until=lease_until)
            if not rows:
                return None
            await session.queue("share_subscriptions")
            recovery = await _stepped(session, _recovery(rows[0]["doc"]), at, mint)
            await session.queue("put_recovery", **_row(recovery, at))
            await session.queue("mark_backlog", id=recovery.subscription_id)
            await self._hint(session, {ChangeTopic.DELIVERIES})
        return recovery

    async def resend(
        self, tenant: str, event_id: str, to: Subscription, delivery: str, at: int
    ) -> Delivery:
        """Owe one event to one subscription, again or for the first time."""
        async with self._database.writing() as session:
            event = event_of(await one(session, "event", "event", tenant=tenant, id=event_id))
            known = await session.fetch("deliveries_of", subscription=to.id, ids=[event_id])
            if known:
                delivery = known[0]["id"]
                await session.queue("redeliver", tenant=tenant, id=delivery, at=at)
            else:
                owed = replace(new_delivery(event, to, delivery), due_at=at, created_at=at)
                await session.queue("add_delivery", **delivery_row(owed))
            await self._hint(session, {ChangeTopic.DELIVERIES})
            row = await one(session, "delivery", "delivery", tenant=tenant, id=delivery)
        return delivery_of(row)

    async def reply_subscription(self, reply: Subscription) -> Subscription:
        """The subscription of a URL that is sent to only now and then, made if it is new."""
        where = {"tenant": reply.tenant, "url": reply.url}
        async with self._database.writing() as session:
            await session.queue("add_reply_subscription", **subscription_row(reply))
            rows = await session.fetch("reply_subscription", **where)
        return subscription_of(rows[0])


def refuse_closed(subscription: Subscription) -> None:
    """Say so, rather than owe what is not going to be sent."""
    if not subscription.enabled or subscription.paused:
        raise Conflict(f"Its subscription is {subscription.state}: nothing was sent.")


async def _stepped(session: Session, recovery: Recovery, at: int, mint: IdFactory) -> Recovery:
    """Owe what is lacking of the next page of the log; the receiver's lane sets the pace."""
    rows = await session.fetch("subscriptions_by_id", ids=[recovery.subscription_id])
    page = await session.fetch(
        "events_after",
        "AND at <= :until",
        tenant=recovery.tenant,
        seq=recovery.cursor,
        until=recovery.until,
        limit=PAGE,
    )
    if not rows or not page:
        return replace(recovery, status="done", finished_at=at)
    to, events = subscription_of(rows[0]), [event_of(row) for row in page]
    wanted = [event for event in events if _is_wanted(recovery, to, event)]
    sent = await _owe_again(session, recovery, to, wanted, lambda: mint("dlv", at))
    return replace(
        recovery,
        cursor=events[-1].seq,
        looked_at=recovery.looked_at + len(wanted),
        sent_again=recovery.sent_again + sent,
    )


def _is_wanted(recovery: Recovery, to: Subscription, event: Event) -> bool:
    return (
        event.at >= recovery.since
        and matches_type(recovery.event_types, event.type)
        and accepts(to, event)
    )


async def _owe_again(
    session: Session,
    recovery: Recovery,
    to: Subscription,
    events: Sequence[Event],
    new_id: Callable[[], str],
) -> int:
    known = await session.fetch(
        "deliveries_of", subscription=to.id, ids=[event.id for event in events]
    )
    by_event = {row["event_id"]: row for row in known}
    again = [row for row in known if _is_lacking(recovery, row)]
    missed = [event for event in events if event.id not in by_event and to.kind == "permanent"]
    missed = missed if "missed" in recovery.only else []
    new = [replace(new_delivery(event, to, new_id()), due_at=HELD) for event in missed]
    await session.queue_many(
        "redeliver", [{"tenant": to.tenant, "id": row["id"], "at": HELD} for row in again]
    )
    await session.queue_many("add_delivery", [delivery_row(one) for one in new])
    return len(again) + len(new)


def _is_lacking(recovery: Recovery, row: Row) -> bool:
    if row["status"] == DeliveryStatus.PENDING:
        return "failed" in recovery.only and row["tries"] > 0 and row["due_at"] < HELD
    return "dead" in recovery.only and row["status"] in _GIVEN_UP


def _row(recovery: Recovery, due_at: int) -> dict[str, object]:
    return {
        "id": recovery.id,
        "tenant": recovery.tenant,
        "status": recovery.status,
        "due_at": due_at,
        "doc": msgspec.json.encode(recovery).decode(),
    }
