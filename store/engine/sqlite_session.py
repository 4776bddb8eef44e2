"""SQLite sessions: statements by name, as many as possible per round trip to SQLite's thread."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import aiosqlite
import msgspec

from store.engine.dialect import Queries
from store.engine.session import Row, Values


class Statement(NamedTuple):
    """A statement, run once with *values* or once for each of *rows*."""

    sql: str
    values: Values
    rows: Sequence[Values] | None = None


class Connection(aiosqlite.Connection):
    """A connection that runs several statements in one round trip to its thread."""

    async def run(self, *statements: Statement) -> list[Sequence[Row]]:
        """Run them in order up to the first that fails; returns the rows of each."""
        found: list[Sequence[Row]] = await self._execute(self._run, statements)  # type: ignore[no-untyped-call]
        return found

    def _run(self, statements: Iterable[Statement]) -> list[list[sqlite3.Row]]:
        results = []
        for sql, values, rows in statements:
            execute = self._conn.execute if rows is None else self._conn.executemany
            results.append(execute(sql, values if rows is None else rows).fetchall())
        return results


BEGIN: Final = Statement("BEGIN IMMEDIATE", {})
COMMIT: Final = Statement("COMMIT", {})


class SqliteSession:
    """One transaction of one connection.

    Statements without results are buffered and sent with the next fetch or the commit: a round
    trip to the thread costs more than most statements.
    """

    def __init__(self, connection: Connection, queries: Queries, *first: Statement) -> None:
        self._connection, self._queries = connection, queries
        self._buffered = list(first)

    async def fetch(self, query: str, **values: object) -> Sequence[Row]:
        (rows,) = await self._send(self._statement(query, values))
        return rows

    async def fetch_all(self, **queries: Values) -> dict[str, Sequence[Row]]:
        statements = [self._statement(query, values) for query, values in queries.items()]
        return dict(zip(queries, await self._send(*statements), strict=True))

    async def queue(self, query: str, **values: object) -> None:
        if not self._queries.is_noop(query):
            self._buffered.append(self._statement(query, values))

    async def queue_many(self, query: str, rows: Iterable[Values]) -> None:
        self._buffered.append(Statement(self._queries.text(query, {}), {}, list(rows)))

    async def commit(self) -> None:
        """Send the buffered statements, and commit."""
        await self._send(COMMIT)

    def _statement(self, query: str, values: Values) -> Statement:
        """Lists are passed as JSON, for `json_each`."""
        bound = {
            name: msgspec.json.encode(value).decode() if isinstance(value, list | tuple) else value
            for name, value in values.items()
        }
        return Statement(self._queries.text(query, values), bound)

    async def _send(self, *statements: Statement) -> Sequence[Sequence[Row]]:
        buffered, self._buffered = self._buffered, []
        found = await self._connection.run(*buffered, *statements)
        return found[len(buffered) :]
