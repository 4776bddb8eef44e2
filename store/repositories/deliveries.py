"""Deliveries and their attempts."""

from collections.abc import Sequence

from msgspec.structs import replace

from service.domain.deliveries.delivery import (
    BacklogStats,
    DeadLetterSummary,
    Delivery,
    new_delivery,
)
from service.domain.deliveries.retry_policy import AttemptResult
from service.domain.primitives.errors import Conflict, NotFound
from service.domain.primitives.ids import created_at_of
from service.domain.subscriptions.subscription import Subscription
from service.transactions.store_protocols import (
    ChangeTopic,
    ClaimRequest,
    ClaimResult,
    Filters,
    Page,
)
from store.claiming import Claim
from store.receiver_leases import ReceiverLeases, SingleProcessLeases
from store.repositories.repository import Repository, fetch_one
from store.rows import (
    decode,
    decode_attempt,
    decode_delivery,
    decode_event,
    decode_subscription,
    encode_delivery,
)


class DeliveryRepository(Repository):
    async def claim(self, request: ClaimRequest) -> ClaimResult:
        kind = ReceiverLeases if self._database.multi_process else SingleProcessLeases
        async with self._database.writing() as session:
            return await Claim(session, request, kind(self._parts.origin, request)).run()

    async def release(self, deliveries: Sequence[Delivery], at: int) -> None:
        rows = [{"id": one.id, "lease_version": one.lease_version, "at": at} for one in deliveries]
        async with self._database.writing() as session:
            await session.queue_many("release_delivery", rows)

    async def next_due(self) -> int | None:
        times = [
            await self._fetch_time("next_delivery_due"),
            await self._fetch_time("next_probe"),
            await self._fetch_time("next_rate_slot"),
        ]
        return min((time for time in times if time is not None), default=None)

    async def get(
        self, tenant: str, delivery_id: str
    ) -> tuple[Delivery, list[tuple[int, AttemptResult]]]:
        async with self._database.reading() as session:
            rows = await session.fetch("delivery_with_attempts", tenant=tenant, id=delivery_id)
        if not rows:
            raise NotFound("There is no such delivery.")
        attempts = [decode_attempt(row) for row in rows if row["number"] is not None]
        return decode_delivery(rows[0]), attempts

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Delivery]:
        query = "list_deliveries"
        if "event" in filters or "job" in filters:
            query = "list_deliveries_selective"
        elif "subscription" in filters:
            query = "list_deliveries_of_subscription"
        rows = await self._list(query, filters, page, tenant=tenant)
        return [decode_delivery(row) for row in rows]

    async def dead_letters(self, tenant: str) -> list[DeadLetterSummary]:
        async with self._database.reading(long=True) as session:
            rows = await session.fetch("dead_letters", tenant=tenant)
        return [decode(row, DeadLetterSummary) for row in rows]

    async def redeliver(self, tenant: str, delivery_id: str, at: int) -> Delivery:
        async with self._database.writing() as session:
            await session.queue("share_subscriptions")
            row = await fetch_one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
            rows = await session.fetch("subscriptions_by_id", ids=[row["subscription_id"]])
            if not rows:
                raise Conflict("The subscription was deleted: nothing was sent.")
            decode_subscription(rows[0]).refuse_if_off()
            await session.queue("redeliver", tenant=tenant, id=delivery_id, at=at)
            await self._notify(session, {ChangeTopic.DELIVERIES})
            row = await fetch_one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
        return decode_delivery(row)

    async def resend(
        self, tenant: str, event_id: str, to: Subscription, delivery_id: str, at: int
    ) -> Delivery:
        async with self._database.writing() as session:
            await session.queue("share_subscriptions")
            found = await session.fetch("subscriptions_by_id", ids=[to.id])
            if not found:
                raise Conflict("The subscription was deleted: nothing was sent.")
            row = await fetch_one(session, "event", "event", tenant=tenant, id=event_id)
            existing = await session.fetch("deliveries_of", subscription=to.id, ids=[event_id])
            if existing:
                delivery_id = existing[0]["id"]
                await session.queue("redeliver", tenant=tenant, id=delivery_id, at=at)
            else:
                delivery = new_delivery(decode_event(row), to, delivery_id)
                delivery = replace(delivery, due_at=at, created_at=at)
                await session.queue("add_delivery", **encode_delivery(delivery))
            await self._notify(session, {ChangeTopic.DELIVERIES})
            row = await fetch_one(session, "delivery", "delivery", tenant=tenant, id=delivery_id)
        return decode_delivery(row)

    async def backlog(self) -> BacklogStats:
        async with self._database.reading() as session:
            oldest = (await session.fetch("oldest_pending"))[0]["id"]
            states = await session.fetch("receiver_states")
        return BacklogStats(
            oldest=None if oldest is None else created_at_of(oldest),
            receivers={row["state"]: row["count"] for row in states},
        )
