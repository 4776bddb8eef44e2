"""Callbacks and events in the store: what came in, and what was told of it."""

from collections.abc import Mapping, Sequence
from typing import Final

from service.domain.callbacks import Callback
from service.domain.events import PAGE_BYTES, Event
from service.transactions.store_protocols import Page
from store.engine.session import Row
from store.repositories.repository import Repository
from store.rows import callback_of, event_of

CALLBACK_FILTERS: Final = {
    "verdict": "verdict = :verdict",
    "job": "job_id = :job",
    "quarantined": "doubt IS NOT NULL AND :quarantined = 'true'",
}
_CALLBACK_LISTS: Final = {"job": "list_callbacks_few", "": "list_callbacks"}
_EVENT_FILTERS: Final = {
    "event_types": "type {in:event_types}",
    "job": "job_id = :job",
    "provider": "provider = :provider",
}
_END_OF_LOG: Final = 2**62
LOOKED_AT: Final = 10_000


class EventLogRepository(Repository):
    async def callback(self, tenant: str, callback_id: str) -> Callback:
        row = await self._one("callback", "callback", tenant=tenant, id=callback_id)
        return callback_of(row)

    async def callbacks(self, tenant: str, wanted: Mapping[str, str], page: Page) -> list[Callback]:
        """List callbacks without their bodies."""
        rows = await self._list(_CALLBACK_LISTS, CALLBACK_FILTERS, wanted, page, tenant=tenant)
        return [callback_of(row) for row in rows]

    async def event(self, tenant: str, event_id: str) -> Event:
        return event_of(await self._one("event", "event", tenant=tenant, id=event_id))

    async def events(self, tenant: str, wanted: Mapping[str, object], page: Page) -> list[Event]:
        """List events, newest first; the cursor is a seq."""
        where = " ".join(f"AND {_EVENT_FILTERS[name]}" for name in sorted(wanted))
        cursor = _END_OF_LOG if page.cursor is None else int(page.cursor)
        async with self._database.reading() as session:
            rows = await session.fetch(
                "list_events", where, tenant=tenant, cursor=cursor, limit=page.limit, **wanted
            )
        return _events(rows)

    async def events_after(
        self, tenant: str, seq: int, limit: int, job_id: str | None = None
    ) -> list[Event]:
        """Read the next page of the log, oldest first.

        It has up to *limit* events, and none after the one with which it reaches `PAGE_BYTES`.
        """
        where = "" if job_id is None else "AND job_id = :job_id"
        values: dict[str, object] = {"tenant": tenant, "seq": seq, "limit": limit}
        if job_id is not None:
            values["job_id"] = job_id
        async with self._database.reading() as session:
            rows = await session.fetch("page_after", where, max_bytes=PAGE_BYTES, **values)
        return _events(rows)

    async def last_seq(self) -> int:
        async with self._database.reading() as session:
            rows = await session.fetch("last_seq")
        return int(rows[0]["seq"])

    async def tenants_after(self, seq: int) -> dict[str, int]:
        """Say who has events after *seq*, and the last of each; so many events are looked at."""
        async with self._database.reading() as session:
            rows = await session.fetch("tenants_after", seq=seq, limit=LOOKED_AT)
        return {row["tenant"]: row["seq"] for row in rows}


def _events(rows: Sequence[Row]) -> list[Event]:
    return [event_of(row) for row in rows]
