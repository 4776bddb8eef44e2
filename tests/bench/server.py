"""A PostgreSQL server that commits to the disk, as SQLite does in the phase beside it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from tests.databases import postgres_server

START_SECONDS: Final = 10
_HURRIES: Final = ("fsync", "full_page_writes", "synchronous_commit")
"""What the tests' own server leaves out, because they survive no power cut anyway."""


@contextmanager
def durable_server() -> Iterator[str]:
    """Give the URL of a server; RuntimeError when its commits do not wait for its disk."""
    with postgres_server() as url:
        if "TEST_POSTGRES_URL" not in os.environ:
            _calm(url)
        _require_durable(url)
        yield url


def _calm(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        for hurry in _HURRIES:
            admin.execute(f"ALTER SYSTEM RESET {hurry}")
        admin.execute("SELECT pg_reload_conf()")


def _require_durable(url: str) -> None:
    """A reload reaches connections made a moment later, so look until it has."""
    deadline = time.perf_counter() + START_SECONDS
    while hurried := _hurried(url):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"a rate beside SQLite's would mislead: {', '.join(hurried)} off")
        time.sleep(0.05)


def _hurried(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        query = "SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting = 'off'"
        return [str(name) for (name,) in connection.execute(query, (list(_HURRIES),))]
