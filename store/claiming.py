"""Claims deliveries for a dispatcher: what is due, parked, rate-limited, or to be probed."""

from collections.abc import Sequence
from typing import Final

from service.domain.deliveries.delivery import Delivery, DeliveryTask
from service.domain.primitives.timestamps import SECOND
from service.transactions.store_protocols import ClaimRequest, ClaimResult
from store.engine.session import Row, Session
from store.receiver_leases import ReceiverLeases
from store.rows import decode_delivery, decode_subscription

MAX_PARKED: Final = 200
"""Deliveries parked per claim: the writer is not held longer, because callbacks wait for it."""
MAX_BACKLOGS: Final = 20
MAX_PROBES: Final = 20
MAX_RATE_LIMITED: Final = 50


class Claim:
    """One claim inside one transaction."""

    def __init__(self, session: Session, request: ClaimRequest, leases: ReceiverLeases) -> None:
        self._session, self._request, self._leases = session, request, leases
        self._deliveries: list[Delivery] = []
        self._probes: set[str] = set()
        self._send_times: dict[str, int] = {}
        """When a rate-limited delivery may be sent, by its id."""

    async def run(self) -> ClaimResult:
        """Lease what may be sent now, in order per job."""
        session, request, leases = self._session, self._request, self._leases
        await leases.open(session)
        await session.queue("share_subscriptions")
        for subscription, send_at in sorted(request.next_sends.items()):
            await session.queue("defer_next_send", id=subscription, next_send_at=send_at)
        at, excluded = request.at, list(leases.excluded)
        found = await session.fetch_all(
            park_deliveries={"at": at, "full": list(request.full), "limit": MAX_PARKED},
            due_probes={"at": at, "excluded": excluded, "limit": MAX_PROBES},
            backlogs={"excluded": excluded, "limit": MAX_BACKLOGS},
            rate_limited_subscriptions={
                "at": at,
                "excluded": excluded,
                "horizon": at + SECOND,
                "too_far": request.lease_until,
                "limit": MAX_RATE_LIMITED,
            },
            due_deliveries={"at": at, "excluded": excluded, "limit": request.limit},
        )
        parked, due = found["park_deliveries"], found["due_deliveries"]
        for subscription in sorted({row["subscription_id"] for row in parked}):
            await session.queue("mark_backlog", id=subscription)
        leased_due = await self._lease_due(due)
        await self._lease_probes(found["due_probes"])
        leased_backlog = await self._lease_backlogs(found["backlogs"])
        await self._lease_rate_limited(found["rate_limited_subscriptions"])
        await leases.close(session)
        full_page = len(due) == request.limit and leased_due > 0
        more = leased_backlog > 0 or full_page or len(parked) == MAX_PARKED
        return ClaimResult(await self._tasks(), more=more)

    async def _lease_due(self, due: Sequence[Row]) -> int:
        own = self._leases.take(row["subscription_id"] for row in due)
        return len(await self._lease([row for row in due if row["subscription_id"] in own]))

    async def _lease_probes(self, probes: Sequence[Row]) -> None:
        """Lease one delivery per receiver; without a delivery the probe is tried again later."""
        for subscription in sorted(self._leases.take(row["subscription_id"] for row in probes)):
            until = self._request.lease_until
            await self._session.queue("lease_probe", id=subscription, lease_until=until)
            leased = await self._lease_next(subscription, 1)
            self._probes.update(delivery.id for delivery in leased)

    async def _lease_backlogs(self, backlogs: Sequence[Row]) -> int:
        """Lease parked deliveries of receivers that can take them again; returns how many."""
        count, limit = 0, self._request.limit
        own = self._leases.take(row["id"] for row in backlogs)
        for row in backlogs:
            if row["id"] in own:
                leased = await self._lease_next(row["id"], limit)
                count += len(leased)
                if len(leased) < limit:
                    await self._session.queue("end_backlog", id=row["id"], backlog=row["backlog"])
        return count

    async def _lease_rate_limited(self, subscriptions: Sequence[Row]) -> None:
        """Assign the slots of the next second; the rate holds whichever process sends."""
        at = self._request.at
        own = self._leases.take(row["id"] for row in subscriptions)
        for row in subscriptions:
            if row["id"] not in own:
                continue
            first, interval = max(row["next_send_at"], at), SECOND // row["rate"]
            count = max(1, (at + SECOND - first) // interval)
            leased = await self._lease_next(row["id"], count)
            for n, delivery in enumerate(sorted(leased, key=lambda one: one.id)):
                self._send_times[delivery.id] = first + n * interval
            if leased:
                next_send_at = first + len(leased) * interval
                await self._session.queue("set_next_send", id=row["id"], next_send_at=next_send_at)

    async def _lease_next(self, subscription: str, limit: int) -> list[Delivery]:
        at = self._request.at
        return await self._lease(
            await self._session.fetch(
                "next_of_subscription", subscription=subscription, at=at, limit=limit
            )
        )

    async def _lease(self, rows: Sequence[Row]) -> list[Delivery]:
        if not rows:
            return []
        ids, until = [row["id"] for row in rows], self._request.lease_until
        leased = await self._session.fetch("lease_deliveries", ids=ids, lease_until=until)
        deliveries = [decode_delivery(row) for row in leased]
        self._deliveries += deliveries
        return deliveries

    async def _tasks(self) -> list[DeliveryTask]:
        if not self._deliveries:
            return []
        found = await self._session.fetch_all(
            subscriptions_by_id={"ids": sorted({one.subscription_id for one in self._deliveries})},
            event_payloads={"ids": sorted({one.event_id for one in self._deliveries})},
        )
        receivers = {row["id"]: decode_subscription(row) for row in found["subscriptions_by_id"]}
        payloads = {row["id"]: bytes(row["payload"]) for row in found["event_payloads"]}
        return [
            DeliveryTask(
                delivery,
                receivers[delivery.subscription_id],
                payloads[delivery.event_id],
                probe=delivery.id in self._probes,
                not_before=self._send_times.get(delivery.id, 0),
                claimed=True,
            )
            for delivery in sorted(self._deliveries, key=lambda one: one.id)
            if delivery.subscription_id in receivers
        ]
