"""Operations in the store: recoveries step by step, and single events sent again."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from service import ids
from service.deliveries import HELD, Delivery, DeliveryStatus, owe
from service.errors import Conflict
from service.events import Event
from service.ids import Mint
from service.operations import PAGE, Operation
from service.ports import Page, Topic
from service.subscriptions import Subscription, covers, wants
from service.times import SECOND
from store.database import Row, Session
from store.parts import Part, one
from store.rows import delivery_of, delivery_row, event_of, subscription_of, subscription_row

_GIVEN_UP: Final = (DeliveryStatus.DEAD, DeliveryStatus.CANCELED)
_END: Final = 2**62
_operation: Final = msgspec.json.Decoder(Operation).decode
_CLOCKS: Final = 60 * SECOND
"""Events of several machines are numbered by clocks that may differ a little."""


class OperationStore(Part):
    async def add_operation(self, operation: Operation) -> Operation:
        """Begin a recovery where the log stood at its time; Conflict if it could send nothing."""
        async with self._database.writing() as session:
            row = await one(
                session,
                "subscription",
                "subscription",
                tenant=operation.tenant,
                id=operation.subscription_id,
            )
            refuse_closed(subscription_of(row))
            since = ids.new_id("evt", max(0, operation.since - _CLOCKS), 0)
            first = await session.rows("first_seq", since=since)
            begun = replace(operation, cursor=first[0]["seq"] - 1 if first else _END)
            await session.run("put_operation", **_row(begun, begun.created_at))
        return begun

    async def operation(self, tenant: str, operation_id: str) -> Operation:
        row = await self._one("operation", "operation", tenant=tenant, id=operation_id)
        return _operation(row["doc"])

    async def operations(self, tenant: str, page: Page) -> list[Operation]:
        rows = await self._list({"": "list_operations"}, {}, {}, page, tenant=tenant)
        return [_operation(row["doc"]) for row in rows]

    async def cancel_operation(self, tenant: str, operation_id: str, at: int) -> Operation:
        async with self._database.writing() as session:
            row = await one(session, "operation", "operation", tenant=tenant, id=operation_id)
            operation = _operation(row["doc"])
            if operation.status == "done":
                raise Conflict("The operation is done.")
            ended = replace(operation, status="canceled", finished_at=at)
            await session.run("put_operation", **_row(ended, at))
        return ended

    async def recover_step(self, at: int, lease_until: int, mint: Mint) -> Operation | None:
        """Go one page further in a running recovery; None when there is none."""
        async with self._database.writing() as session:
            rows = await session.rows("claim_operation", at=at, lease_until=lease_until)
            if not rows:
                return None
            await session.run("share_subscriptions")
            operation = await _stepped(session, _operation(rows[0]["doc"]), at, mint)
            await session.run("put_operation", **_row(operation, at))
            await session.run("mark_backlog", id=operation.subscription_id)
            await self._hint(session, {Topic.DELIVERIES})
        return operation

    async def resend(
        self, tenant: str, event_id: str, to: Subscription, delivery: str, at: int
    ) -> Delivery:
        """Owe one event to one subscription, again or for the first time."""
        async with self._database.writing() as session:
            event = event_of(await one(session, "event", "event", tenant=tenant, id=event_id))
            known = await session.rows("deliveries_of", subscription=to.id, ids=[event_id])
            if known:
                delivery = known[0]["id"]
                await session.run("redeliver", tenant=tenant, id=delivery, at=at)
            else:
                owed = replace(owe(event, to, delivery), due_at=at, created_at=at)
                await session.run("add_delivery", **delivery_row(owed))
            await self._hint(session, {Topic.DELIVERIES})
            row = await one(session, "delivery", "delivery", tenant=tenant, id=delivery)
        return delivery_of(row)

    async def reply_subscription(self, reply: Subscription) -> Subscription:
        """The subscription of a URL that is sent to only now and then, made if it is new."""
        where = {"tenant": reply.tenant, "url": reply.url}
        async with self._database.writing() as session:
            await session.run("add_reply_subscription", **subscription_row(reply))
            rows = await session.rows("reply_subscription", **where)
        return subscription_of(rows[0])


def refuse_closed(subscription: Subscription) -> None:
    """Say so, rather than owe what is not going to be sent."""
    if not subscription.enabled or subscription.paused:
        raise Conflict(f"Its subscription is {subscription.state}: nothing was sent.")


async def _stepped(session: Session, operation: Operation, at: int, mint: Mint) -> Operation:
    """Owe what is lacking of the next page of the log; the receiver's lane sets the pace."""
    rows = await session.rows("subscriptions_by_id", ids=[operation.subscription_id])
    page = await session.rows(
        "events_after",
        "AND at <= :until",
        tenant=operation.tenant,
        seq=operation.cursor,
        until=operation.until,
        limit=PAGE,
    )
    if not rows or not page:
        return replace(operation, status="done", finished_at=at)
    to, events = subscription_of(rows[0]), [event_of(row) for row in page]
    wanted = [event for event in events if _is_wanted(operation, to, event)]
    sent = await _owe_again(session, operation, to, wanted, lambda: mint("dlv", at))
    return replace(
        operation,
        cursor=events[-1].seq,
        looked_at=operation.looked_at + len(wanted),
        sent_again=operation.sent_again + sent,
    )


def _is_wanted(operation: Operation, to: Subscription, event: Event) -> bool:
    return event.at >= operation.since and covers(operation.types, event.type) and wants(to, event)


async def _owe_again(
    session: Session,
    operation: Operation,
    to: Subscription,
    events: Sequence[Event],
    new_id: Callable[[], str],
) -> int:
    known = await session.rows(
        "deliveries_of", subscription=to.id, ids=[event.id for event in events]
    )
    by_event = {row["event_id"]: row for row in known}
    again = [row for row in known if _is_lacking(operation, row)]
    missed = [event for event in events if event.id not in by_event and to.kind == "standing"]
    missed = missed if "missed" in operation.only else []
    new = [replace(owe(event, to, new_id()), due_at=HELD) for event in missed]
    await session.run_many(
        "redeliver", [{"tenant": to.tenant, "id": row["id"], "at": HELD} for row in again]
    )
    await session.run_many("add_delivery", [delivery_row(one) for one in new])
    return len(again) + len(new)


def _is_lacking(operation: Operation, row: Row) -> bool:
    if row["status"] == DeliveryStatus.PENDING:
        return "failed" in operation.only and row["tries"] > 0 and row["due_at"] < HELD
    return "dead" in operation.only and row["status"] in _GIVEN_UP


def _row(operation: Operation, due_at: int) -> dict[str, object]:
    return {
        "id": operation.id,
        "tenant": operation.tenant,
        "status": operation.status,
        "due_at": due_at,
        "doc": msgspec.json.encode(operation).decode(),
    }
