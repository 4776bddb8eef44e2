"""How SQLite is asked: statements by their names, as many as can be on one way to its thread."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import aiosqlite
import msgspec

from store.engine.dialect import Queries
from store.engine.session import QueryCall, Row


class Statement(NamedTuple):
    """What is asked of the database, once or with each of *rows*."""

    sql: str
    values: Mapping[str, object] = {}
    rows: Sequence[Mapping[str, object]] | None = None


class Connection(aiosqlite.Connection):
    """A connection that runs several statements on one way to its thread and back."""

    async def ask(self, *statements: Statement) -> list[Sequence[Row]]:
        """Run them in turn up to the first that fails; what each of them returned."""
        found: list[Sequence[Row]] = await self._execute(self._ask, statements)  # type: ignore[no-untyped-call]
        return found

    def _ask(self, statements: Iterable[Statement]) -> list[list[sqlite3.Row]]:
        return [self._cursor(statement).fetchall() for statement in statements]

    def _cursor(self, statement: Statement) -> sqlite3.Cursor:
        sql, values, rows = statement
        return (
            self._conn.execute(sql, values) if rows is None else self._conn.executemany(sql, rows)
        )


BEGIN: Final = Statement("BEGIN IMMEDIATE")
COMMIT: Final = Statement("COMMIT")


class SqliteSession:
    """One connection inside one transaction; queries go by their names in `queries.sql`.

    What nobody waits for is kept until somebody does, and goes with that: each way to the thread
    and back costs more than most statements.
    """

    def __init__(self, connection: Connection, queries: Queries, *first: Statement) -> None:
        self._connection, self._queries = connection, queries
        self._kept = list(first)

    async def fetch(self, query: str, where: str = "", /, **values: object) -> Sequence[Row]:
        (found,) = await self._ask(Statement(self._queries.text(query, where), _bound(values)))
        return found

    async def fetch_all(self, *asked: QueryCall) -> Sequence[Sequence[Row]]:
        texts = self._queries.text
        return await self._ask(
            *(Statement(texts(query), _bound(values)) for query, values in asked)
        )

    async def queue(self, query: str, **values: object) -> None:
        if self._queries.needed(query):
            self._kept.append(Statement(self._queries.text(query), _bound(values)))

    async def queue_many(self, query: str, rows: Iterable[Mapping[str, object]]) -> None:
        self._kept.append(Statement(self._queries.text(query), rows=list(rows)))

    async def end(self) -> None:
        """Run what is kept, and commit."""
        await self._ask(COMMIT)

    async def _ask(self, *statements: Statement) -> Sequence[Sequence[Row]]:
        kept, self._kept = self._kept, []
        found = await self._connection.ask(*kept, *statements)
        return found[len(kept) :]


def _bound(values: Mapping[str, object]) -> dict[str, object]:
    """Lists go to SQLite as JSON, for `json_each`."""
    return {
        name: msgspec.json.encode(value).decode() if isinstance(value, list | tuple) else value
        for name, value in values.items()
    }
