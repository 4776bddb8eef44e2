"""What all repositories share: reading one row, a list, or a time; waking other processes."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import uuid4

from service.domain.primitives.errors import NotFound
from service.transactions.store_protocols import ChangeTopic, Filters, Page
from store.engine.session import Database, Row, Session
from store.transaction.changes import SubscriptionCache

AFTER_ALL_IDS: Final = "~"
"""Sorts after every id: the cursor of a list's first page."""


class StoreParts:
    """What the repositories of one store share; *origin* names this process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.subscription_cache = SubscriptionCache()
        self.origin = uuid4().hex


class Repository:
    """The queries about one noun."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts, self._database = parts, parts.database

    async def _notify(self, session: Session, topics: Collection[ChangeTopic]) -> None:
        """Wake the other processes when this transaction is committed."""
        await notify(session, self._parts.origin, topics)

    async def _fetch_one(self, query: str, noun: str, **values: object) -> Row:
        async with self._database.reading() as session:
            return await fetch_one(session, query, noun, **values)

    async def _fetch_time(self, query: str, **values: object) -> int | None:
        """The column `at` of the only row, in microseconds."""
        async with self._database.reading() as session:
            rows = await session.fetch(query, **values)
        return None if rows[0]["at"] is None else int(rows[0]["at"])

    async def _list(
        self, query: str, filters: Filters, page: Page, **values: object
    ) -> Sequence[Row]:
        """A page of a list, newest first."""
        cursor = page.cursor or AFTER_ALL_IDS
        async with self._database.reading() as session:
            return await session.fetch(query, **values, **filters, cursor=cursor, limit=page.limit)


async def notify(session: Session, origin: str, topics: Collection[ChangeTopic]) -> None:
    if topics:
        await session.queue("notify", message=" ".join((origin, *sorted(topics))))


async def fetch_one(session: Session, query: str, noun: str, **values: object) -> Row:
    """The only row of *query*; NotFound, which names the *noun*, if there is none."""
    rows = await session.fetch(query, **values)
    if not rows:
        raise NotFound(f"There is no such {noun}.")
    return rows[0]
