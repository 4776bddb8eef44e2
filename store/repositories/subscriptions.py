"""Subscriptions and the health of their receivers."""

from collections.abc import Callable, Sequence

from service.domain.deliveries.circuit_breaker import ReceiverHealth
from service.domain.subscriptions.subscription import Subscription, starts_afresh
from service.transactions.store_protocols import ChangeTopic, Filters, Page
from store.engine.session import Session
from store.repositories.repository import Repository, fetch_one
from store.rows import decode_health, decode_subscription, encode_subscription


class SubscriptionRepository(Repository):
    async def put(self, subscription: Subscription) -> None:
        async with self._database.writing() as session:
            await session.queue("lock_subscriptions")
            await _put(session, subscription)

    async def change(
        self, tenant: str, subscription_id: str, change: Callable[[Subscription], Subscription]
    ) -> Subscription:
        async with self._database.writing() as session:
            await session.queue("lock_subscriptions")
            row = await fetch_one(
                session, "subscription", "subscription", tenant=tenant, id=subscription_id
            )
            before = decode_subscription(row)
            changed = change(before)
            await _put(session, changed)
            if starts_afresh(before, changed):
                await session.queue("delete_receiver_health", id=subscription_id)
            await self._notify(session, {ChangeTopic.SUBSCRIPTIONS})
        return changed

    async def delete(self, tenant: str, subscription_id: str, at: int) -> None:
        async with self._database.writing(long=True) as session:
            await session.queue("lock_subscriptions")
            await fetch_one(
                session, "delete_subscription", "subscription", tenant=tenant, id=subscription_id
            )
            await session.queue("cancel_deliveries", id=subscription_id, at=at)
            await session.queue("delete_receiver_health", id=subscription_id)
            await session.queue("bump_subscriptions_version")
            await self._notify(session, {ChangeTopic.SUBSCRIPTIONS})

    async def get(self, tenant: str, subscription_id: str) -> Subscription:
        row = await self._fetch_one(
            "subscription", "subscription", tenant=tenant, id=subscription_id
        )
        return decode_subscription(row)

    async def get_many(
        self, tenant: str, subscription_ids: Sequence[str]
    ) -> dict[str, Subscription]:
        async with self._database.reading() as session:
            rows = await session.fetch("subscriptions_by_id", ids=list(subscription_ids))
        found = map(decode_subscription, rows)
        return {one.id: one for one in found if one.tenant == tenant}

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Subscription]:
        rows = await self._list("list_subscriptions", filters, page, tenant=tenant)
        return [decode_subscription(row) for row in rows]

    async def get_or_add_reply(self, reply: Subscription) -> Subscription:
        async with self._database.writing() as session:
            await session.queue("add_reply_subscription", **encode_subscription(reply))
            rows = await session.fetch("reply_subscription", tenant=reply.tenant, url=reply.url)
        return decode_subscription(rows[0])

    async def health(self, subscription_ids: Sequence[str]) -> dict[str, ReceiverHealth]:
        async with self._database.reading() as session:
            rows = await session.fetch("receiver_health", ids=list(subscription_ids))
        return {row["subscription_id"]: decode_health(row) for row in rows}


async def _put(session: Session, subscription: Subscription) -> None:
    await session.queue("put_subscription", **encode_subscription(subscription))
    await session.queue("bump_subscriptions_version")
