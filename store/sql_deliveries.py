"""Subscriptions and deliveries in the store: who wants to know, and what they are owed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from service.deliveries import Delivery, Outcome, Parcel, Settlement
from service.errors import Conflict
from service.ports import Page, Topic
from service.subscriptions import Subscription
from store.database import Session
from store.parts import Part, one
from store.rows import (
    attempt_of,
    attempt_row,
    delivery_of,
    settlement_row,
    subscription_of,
    subscription_row,
)

_FILTERS: Final = {
    "subscription": "subscription_id = :subscription",
    "status": "status = :status",
    "event": "event_id = :event",
    "job": "job_id = :job",
}
_SUBSCRIPTION_FILTERS: Final = {"kind": "kind = :kind", "url": "url = :url"}


class DeliveryStore(Part):
    async def put_subscription(self, subscription: Subscription) -> None:
        async with self._database.writing() as session:
            await session.run("lock_subscriptions")
            await _put(session, subscription)

    async def change_subscription(
        self, tenant: str, subscription_id: str, change: Callable[[Subscription], Subscription]
    ) -> Subscription:
        async with self._database.writing() as session:
            await session.run("lock_subscriptions")
            row = await one(
                session, "subscription", "subscription", tenant=tenant, id=subscription_id
            )
            changed = change(subscription_of(row))
            await _put(session, changed)
            await self._hint(session, {Topic.SUBSCRIPTIONS})
        return changed

    async def delete_subscription(self, tenant: str, subscription_id: str, at: int) -> None:
        """Delete it and cancel what it was still owed."""
        async with self._database.writing() as session:
            await session.run("lock_subscriptions")
            await one(
                session, "delete_subscription", "subscription", tenant=tenant, id=subscription_id
            )
            await session.run("cancel_deliveries", id=subscription_id, at=at)
            await session.run("revise")
            await self._hint(session, {Topic.SUBSCRIPTIONS})

    async def subscription(self, tenant: str, subscription_id: str) -> Subscription:
        row = await self._one("subscription", "subscription", tenant=tenant, id=subscription_id)
        return subscription_of(row)

    async def subscriptions(
        self, tenant: str, wanted: Mapping[str, str], page: Page
    ) -> list[Subscription]:
        rows = await self._list(
            "list_subscriptions", _SUBSCRIPTION_FILTERS, wanted, page, tenant=tenant
        )
        return [subscription_of(row) for row in rows]

    async def claim_deliveries(
        self, at: int, lease_until: int, limit: int, full: Sequence[str]
    ) -> list[Parcel]:
        """Lease what is due, in order per job, leaving out the subscriptions in *full*."""
        async with self._database.writing() as session:
            rows = await session.rows(
                "claim_deliveries", at=at, lease_until=lease_until, limit=limit, full=list(full)
            )
            claimed = sorted(map(delivery_of, rows), key=lambda d: d.id)
            return await _parcels(session, claimed)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write what became of attempts; one whose lease was taken over changes nothing."""
        ordered = sorted(settlements, key=lambda s: s.delivery.id)
        async with self._database.writing() as session:
            if any(settlement.disable for settlement in ordered):
                await session.run("lock_subscriptions")
            await session.run_many("settle_delivery", [settlement_row(s) for s in ordered])
            await session.run_many("add_attempt", [attempt_row(s) for s in ordered])
            for settlement in ordered:
                if settlement.disable is not None:
                    await _disable(session, settlement)
                    await self._hint(session, {Topic.SUBSCRIPTIONS})

    async def release(self, deliveries: Sequence[Delivery], at: int) -> None:
        """Give deliveries back unsent."""
        async with self._database.writing() as session:
            await session.run_many(
                "release_delivery", [{"id": d.id, "claims": d.claims, "at": at} for d in deliveries]
            )

    async def next_delivery_due(self) -> int | None:
        return await self._moment("next_delivery_due")

    async def delivery(
        self, tenant: str, delivery_id: str
    ) -> tuple[Delivery, list[tuple[int, Outcome]]]:
        async with self._database.reading() as session:
            row = await one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
            attempts = await session.rows("attempts", delivery_id=delivery_id)
        return delivery_of(row), [attempt_of(attempt) for attempt in attempts]

    async def deliveries(
        self, tenant: str, wanted: Mapping[str, str], page: Page
    ) -> list[Delivery]:
        rows = await self._list("list_deliveries", _FILTERS, wanted, page, tenant=tenant)
        return [delivery_of(row) for row in rows]

    async def redeliver(self, tenant: str, delivery_id: str, at: int) -> Delivery:
        """Owe it again, from the first try; Conflict when its subscription would not take it."""
        async with self._database.writing() as session:
            before = await one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
            ids = [before["subscription_id"]]
            receivers = map(subscription_of, await session.rows("subscriptions_by_id", ids=ids))
            if not any(receiver.enabled for receiver in receivers):
                raise Conflict("Its subscription is deleted or disabled; nothing was sent.")
            await session.run("redeliver", tenant=tenant, id=delivery_id, at=at)
            await self._hint(session, {Topic.DELIVERIES})
            row = await one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
        return delivery_of(row)


async def _put(session: Session, subscription: Subscription) -> None:
    await session.run("put_subscription", **subscription_row(subscription))
    await session.run("revise")


async def _parcels(session: Session, claimed: Sequence[Delivery]) -> list[Parcel]:
    if not claimed:
        return []
    ids = sorted({d.subscription_id for d in claimed})
    rows = await session.rows("subscriptions_by_id", ids=ids)
    receivers = {row["id"]: subscription_of(row) for row in rows}
    events = await session.rows("payloads", ids=sorted({d.event_id for d in claimed}))
    payloads = {row["id"]: bytes(row["payload"]) for row in events}
    return [Parcel(d, receivers[d.subscription_id], payloads[d.event_id]) for d in claimed]


async def _disable(session: Session, settlement: Settlement) -> None:
    delivery = settlement.delivery
    rows = await session.rows("subscriptions_by_id", ids=[delivery.subscription_id])
    for row in rows:
        off = replace(
            subscription_of(row),
            enabled=False,
            disabled_reason=settlement.disable,
            updated_at=settlement.outcome.at,
        )
        await _put(session, off)
