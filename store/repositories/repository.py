"""What the parts of the store share: the database, and how lists are asked for."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import uuid4

from service.domain.jobs.job import Status
from service.domain.primitives.errors import NotFound
from service.transactions.change_set import ChangeSet
from service.transactions.store_protocols import ChangeTopic, Page
from store.engine.session import Database, Row, Session
from store.transaction import SubscriptionCache

LAST: Final = "~"
"""Sorts after every id: where a list begins when no cursor is given."""


class Repository:
    """One part of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._standing = SubscriptionCache()
        self._origin = uuid4().hex

    async def _hint(self, session: Session, topics: Collection[ChangeTopic]) -> None:
        """Wake the other processes when this transaction is committed."""
        if topics:
            await session.queue("notify", hint=" ".join((self._origin, *sorted(topics))))

    async def _one(self, query: str, what: str, **values: object) -> Row:
        async with self._database.reading() as session:
            return await one(session, query, what, **values)

    async def _moment(self, query: str, **values: object) -> int | None:
        async with self._database.reading() as session:
            rows = await session.fetch(query, **values)
        return None if rows[0]["at"] is None else int(rows[0]["at"])

    async def _list(
        self,
        queries: Mapping[str, str],
        filters: Mapping[str, str],
        wanted: Mapping[str, str],
        page: Page,
        **values: object,
    ) -> Sequence[Row]:
        """List what matches *wanted*; *filters* says in SQL what each of its names means.

        *queries* has one for some of the names, by which there is less to walk, and "" for all.
        """
        query = next(queries[name] for name in queries if not name or name in wanted)
        where = " ".join(f"AND {filters[name]}" for name in sorted(wanted))
        async with self._database.reading() as session:
            asked = {**values, **wanted, "cursor": page.cursor or LAST, "limit": page.limit}
            return await session.fetch(query, where, **asked)


def topics_of(changes: ChangeSet) -> set[ChangeTopic]:
    """What *changes* give others to do."""
    topics = {ChangeTopic.EVENTS} if changes.events else set()
    if any(task.is_queued for task in changes.delivery_tasks):
        topics.add(ChangeTopic.DELIVERIES)
    if any(job.ended or job.status is Status.QUEUED for job in changes.jobs.values()):
        topics.add(ChangeTopic.JOBS)
    return topics


async def one(session: Session, query: str, what: str, **values: object) -> Row:
    rows = await session.fetch(query, **values)
    if not rows:
        raise NotFound(f"There is no such {what}.")
    return rows[0]
