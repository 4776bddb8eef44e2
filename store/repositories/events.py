"""The event log."""

from typing import Final

from service.domain.events import PAGE_BYTES, Event
from service.transactions.store_protocols import Filters, Page
from store.repositories.repository import Repository
from store.rows import decode_event

END_OF_LOG: Final = 2**62
"""After every `seq`."""
MAX_EVENTS_READ: Final = 10_000
"""Events that `tenants_after` reads at most."""


class EventRepository(Repository):
    async def get(self, tenant: str, event_id: str) -> Event:
        return decode_event(await self._fetch_one("event", "event", tenant=tenant, id=event_id))

    async def find(self, tenant: str, filters: Filters, page: Page) -> list[Event]:
        cursor = END_OF_LOG if page.cursor is None else int(page.cursor)
        async with self._database.reading() as session:
            rows = await session.fetch(
                "list_events", tenant=tenant, cursor=cursor, limit=page.limit, **filters
            )
        return [decode_event(row) for row in rows]

    async def after(
        self, tenant: str, seq: int, limit: int, job_id: str | None = None
    ) -> list[Event]:
        optional = {} if job_id is None else {"job": job_id}
        async with self._database.reading() as session:
            rows = await session.fetch(
                "event_page",
                tenant=tenant,
                seq=seq,
                limit=limit,
                max_bytes=PAGE_BYTES,
                **optional,
            )
        return [decode_event(row) for row in rows]

    async def last_seq(self) -> int:
        async with self._database.reading() as session:
            rows = await session.fetch("last_seq")
        return int(rows[0]["seq"])

    async def tenants_after(self, seq: int) -> dict[str, int]:
        async with self._database.reading() as session:
            rows = await session.fetch("tenants_after", seq=seq, limit=MAX_EVENTS_READ)
        return {row["tenant"]: row["seq"] for row in rows}
