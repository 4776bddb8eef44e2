"""Copies the store of a stopped SQLite service into an empty PostgreSQL database."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from service.domain.primitives.errors import StartError
from store.engine.postgres import open_postgres
from store.engine.sqlite import open_sqlite

ROWS_PER_READ: Final = 1000
_NOT_COPIED: Final = ("migrations", "sqlite_sequence")


async def copy_store(
    source_url: str, target_url: str, on_table: Callable[[str, int], None]
) -> None:
    """Copy all rows in one transaction, compare the counts, and report each table and its count.

    StartError if the source is in use or the target is not empty.
    """
    source = await open_sqlite(source_url)  # its lock proves that no service uses it
    try:
        await (await open_postgres(target_url)).close()  # creates the tables
        path = source_url.removeprefix("sqlite:///")
        with (
            closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as sqlite,
            psycopg.connect(target_url) as postgres,
        ):
            _copy_all(sqlite, postgres, on_table)
    except psycopg.Error as exc:
        raise StartError(f"TO: {str(exc).splitlines()[0]}") from exc
    finally:
        await source.close()


def _copy_all(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection, on_table: Callable[[str, int], None]
) -> None:
    tables = [
        str(name)
        for (name,) in sqlite.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if name not in _NOT_COPIED
    ]
    postgres.execute("DELETE FROM versions")  # the migrations insert a row
    for table in tables:
        if _count(postgres, table):
            raise StartError(f"TO: its table {table} is not empty; use a new database")
    for table in tables:
        _copy_table(sqlite, postgres, table)
        ((expected,),) = sqlite.execute(f'SELECT COUNT(*) FROM "{table}"')  # noqa: S608 - a name of our own schema
        if (copied := _count(postgres, table)) != expected:
            raise StartError(f"TO: {table} has {copied} rows, but FROM has {expected}")
        on_table(table, copied)
    postgres.execute("SELECT setval(pg_get_serial_sequence('events', 'seq'), MAX(seq)) FROM events")


def _copy_table(sqlite: sqlite3.Connection, postgres: psycopg.Connection, table: str) -> None:
    rows = sqlite.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a name of our own schema
    columns = [sql.Identifier(column) for column, *_ in rows.description]
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(columns)
    )
    with postgres.cursor() as cursor, cursor.copy(statement) as copy:
        while chunk := rows.fetchmany(ROWS_PER_READ):
            for row in chunk:
                copy.write_row(row)


def _count(postgres: psycopg.Connection, table: str) -> int:
    query = sql.SQL("SELECT COUNT(*) FROM {}").format(sql.Identifier(table))
    ((count,),) = postgres.execute(query)
    return int(count)
