"""Subscriptions and deliveries in the store: who wants to know, and what they are owed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from service.domain.deliveries.circuit_breaker import ReceiverHealth
from service.domain.deliveries.delivery import DeadLetterSummary, Delivery
from service.domain.deliveries.retry_policy import AttemptResult, DeliveryUpdate
from service.domain.primitives.errors import Conflict
from service.domain.subscriptions.subscription import Subscription
from service.transactions.change_set import ChangeSet, Decide, Snapshot
from service.transactions.store_protocols import ChangeTopic, ClaimRequest, ClaimResult, Page
from store.claiming import claim
from store.engine.session import Session
from store.receiver_leases import ReceiverLeases, SingleProcessLeases
from store.repositories.repository import Repository, one, topics_of
from store.rows import (
    attempt_of,
    attempt_row,
    delivery_of,
    health_of,
    settlement_row,
    subscription_of,
    subscription_row,
)
from store.transaction import write_events, write_receivers

FILTERS: Final = {
    "subscription": "subscription_id = :subscription",
    "status": "status = :status",
    "event": "event_id = :event",
    "job": "job_id = :job",
}
_LISTS: Final = {
    "event": "list_deliveries_few",
    "job": "list_deliveries_few",
    "subscription": "list_deliveries_of",
    "": "list_deliveries",
}
_SUBSCRIPTION_FILTERS: Final = {"kind": "kind = :kind", "url": "url = :url"}


class DeliveryRepository(Repository):
    async def put_subscription(self, subscription: Subscription) -> None:
        async with self._database.writing() as session:
            await session.queue("lock_subscriptions")
            await _put(session, subscription)

    async def change_subscription(
        self, tenant: str, subscription_id: str, change: Callable[[Subscription], Subscription]
    ) -> Subscription:
        async with self._database.writing() as session:
            await session.queue("lock_subscriptions")
            row = await one(
                session, "subscription", "subscription", tenant=tenant, id=subscription_id
            )
            before = subscription_of(row)
            changed = change(before)
            await _put(session, changed)
            if _begins_anew(before, changed):
                await session.queue("delete_health", id=subscription_id)
            await self._hint(session, {ChangeTopic.SUBSCRIPTIONS})
        return changed

    async def delete_subscription(self, tenant: str, subscription_id: str, at: int) -> None:
        """Delete it and cancel what it was still owed."""
        async with self._database.writing(long=True) as session:
            await session.queue("lock_subscriptions")
            await one(
                session, "delete_subscription", "subscription", tenant=tenant, id=subscription_id
            )
            await session.queue("cancel_deliveries", id=subscription_id, at=at)
            await session.queue("delete_health", id=subscription_id)
            await session.queue("revise")
            await self._hint(session, {ChangeTopic.SUBSCRIPTIONS})

    async def subscription(self, tenant: str, subscription_id: str) -> Subscription:
        row = await self._one("subscription", "subscription", tenant=tenant, id=subscription_id)
        return subscription_of(row)

    async def subscriptions(
        self, tenant: str, wanted: Mapping[str, str], page: Page
    ) -> list[Subscription]:
        rows = await self._list(
            {"": "list_subscriptions"}, _SUBSCRIPTION_FILTERS, wanted, page, tenant=tenant
        )
        return [subscription_of(row) for row in rows]

    async def claim_deliveries(self, wanted: ClaimRequest) -> ClaimResult:
        """Lease what is due, in order per job, to receivers that no other process sends to."""
        kind = ReceiverLeases if self._database.shared else SingleProcessLeases
        async with self._database.writing() as session:
            return await claim(session, wanted, kind(self._origin, wanted))

    async def settle(self, updates: Sequence[DeliveryUpdate], decide: Decide) -> ChangeSet:
        """Write what became of attempts; one whose lease was taken over changes nothing.

        Where a receiver failed, or had failed before, *decide* says what follows from that.
        """
        ordered = sorted(updates, key=lambda s: s.delivery.id)
        ids = sorted({s.delivery.subscription_id for s in ordered})
        changes = ChangeSet()
        async with self._database.writing() as session:
            health = await _health(session, ids)
            if health or not all(s.result.success for s in ordered):
                await session.queue("lock_subscriptions")
                found = await self._receivers(session, ids)
                changes = decide(replace(found, health=await _health(session, ids)))
            await session.queue_many("settle_delivery", [settlement_row(s) for s in ordered])
            await session.queue_many("add_attempt", [attempt_row(s) for s in ordered])
            await write_receivers(session, changes)
            await write_events(session, changes)
            await self._hint(session, _topics(changes))
        return changes

    async def _receivers(self, session: Session, ids: Sequence[str]) -> Snapshot:
        revision = (await session.fetch("revision"))[0]["revision"]
        rows = await session.fetch("subscriptions_by_id", ids=list(ids))
        return Snapshot(
            jobs={},
            permanent=await self._standing.at(session, revision),
            receivers={row["id"]: subscription_of(row) for row in rows},
        )

    async def health(self, subscription_ids: Sequence[str]) -> dict[str, ReceiverHealth]:
        async with self._database.reading() as session:
            return await _health(session, subscription_ids)

    async def release(self, deliveries: Sequence[Delivery], at: int) -> None:
        """Give deliveries back unsent."""
        async with self._database.writing() as session:
            await session.queue_many(
                "release_delivery", [{"id": d.id, "claims": d.claims, "at": at} for d in deliveries]
            )

    async def next_delivery_due(self) -> int | None:
        """When the courier has something to do that nothing wakes it for."""
        moments = [
            await self._moment("next_delivery_due"),
            await self._moment("next_probe"),
            await self._moment("next_turn"),
        ]
        return min((moment for moment in moments if moment is not None), default=None)

    async def delivery(
        self, tenant: str, delivery_id: str
    ) -> tuple[Delivery, list[tuple[int, AttemptResult]]]:
        async with self._database.reading() as session:
            row = await one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
            attempts = await session.fetch("attempts", delivery_id=delivery_id)
        return delivery_of(row), [attempt_of(attempt) for attempt in attempts]

    async def deliveries(
        self, tenant: str, wanted: Mapping[str, str], page: Page
    ) -> list[Delivery]:
        rows = await self._list(_LISTS, FILTERS, wanted, page, tenant=tenant)
        return [delivery_of(row) for row in rows]

    async def dead_letters(self, tenant: str) -> list[DeadLetterSummary]:
        async with self._database.reading(long=True) as session:
            return [
                DeadLetterSummary(**row)
                for row in await session.fetch("dead_letters", tenant=tenant)
            ]

    async def redeliver(self, tenant: str, delivery_id: str, at: int) -> Delivery:
        """Owe it again, from the first try; Conflict when its subscription would not take it."""
        async with self._database.writing() as session:
            before = await one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
            ids = [before["subscription_id"]]
            receivers = map(subscription_of, await session.fetch("subscriptions_by_id", ids=ids))
            if not any(receiver.enabled and not receiver.paused for receiver in receivers):
                raise Conflict("Its subscription is deleted, disabled or paused: nothing was sent.")
            await session.queue("redeliver", tenant=tenant, id=delivery_id, at=at)
            await self._hint(session, {ChangeTopic.DELIVERIES})
            row = await one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
        return delivery_of(row)


async def _put(session: Session, subscription: Subscription) -> None:
    await session.queue("put_subscription", **subscription_row(subscription))
    await session.queue("revise")


async def _health(session: Session, ids: Sequence[str]) -> dict[str, ReceiverHealth]:
    rows = await session.fetch("health", ids=list(ids))
    return {row["subscription_id"]: health_of(row) for row in rows}


def _begins_anew(before: Subscription, changed: Subscription) -> bool:
    """Whether how its receiver fared so far says nothing any more."""
    released = before.held and not changed.held
    return released or changed.url != before.url or (changed.enabled and not before.enabled)


def _topics(changes: ChangeSet) -> set[ChangeTopic]:
    return topics_of(changes) | ({ChangeTopic.SUBSCRIPTIONS} if changes.subscriptions else set())
