"""Moves house: copies the store of a stopped SQLite service into an empty PostgreSQL database."""

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

CHUNK: Final = 1000
_KEPT_APART: Final = ("migrations", "sqlite_sequence")
Told = Callable[[str, int], None]


async def copy_store(source_url: str, target_url: str, told: Told) -> None:
    """Copy every row, count both sides and tell table by table; all of it or nothing.

    StartError when the source is in use or the target is not empty.
    """
    source = await open_sqlite(source_url)  # its lock proves that no service runs on it
    try:
        await (await open_postgres(target_url)).close()  # makes the tables
        path = source_url.removeprefix("sqlite:///")
        with (
            closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as old,
            psycopg.connect(target_url) as new,
        ):
            _copy_all(old, new, told)
    except psycopg.Error as exc:
        raise StartError(f"TO: {str(exc).splitlines()[0]}") from exc
    finally:
        await source.close()


def _copy_all(old: sqlite3.Connection, new: psycopg.Connection, told: Told) -> None:
    tables = [
        str(name)
        for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if name not in _KEPT_APART
    ]
    new.execute("DELETE FROM versions")
    for table in tables:
        if _count(new, table):
            raise StartError(f"TO: its table {table} is not empty; name a new database")
    for table in tables:
        _copy(old, new, table)
        told(table, _verified(old, new, table))
    new.execute("SELECT setval(pg_get_serial_sequence('events', 'seq'), MAX(seq)) FROM events")


def _copy(old: sqlite3.Connection, new: psycopg.Connection, table: str) -> None:
    rows = old.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a name of our own schema
    columns = [sql.Identifier(column) for column, *_ in rows.description]
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(columns)
    )
    with new.cursor() as cursor, cursor.copy(statement) as copy:
        while chunk := rows.fetchmany(CHUNK):
            for row in chunk:
                copy.write_row(row)


def _verified(old: sqlite3.Connection, new: psycopg.Connection, table: str) -> int:
    ((expected,),) = old.execute(f'SELECT COUNT(*) FROM "{table}"')  # noqa: S608
    if (found := _count(new, table)) != expected:
        raise StartError(f"TO: {table} has {found} rows where {expected} were copied")
    return found


def _count(new: psycopg.Connection, table: str) -> int:
    count = new.execute(sql.SQL("SELECT COUNT(*) FROM {}").format(sql.Identifier(table)))
    return int(next(iter(count))[0])
