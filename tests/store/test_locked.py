"""Another program holds a lock on the database: all are told in time, and then served again."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from service.domain.primitives.errors import StartError, Unavailable
from store import open_store
from store.engine.sqlite import READERS, SqliteDatabase, open_sqlite
from store.sql_store import SqlStore
from tests.support.factories import T0, a_subscription
from tests.support.service_harness import Service, plain_client

pytestmark = pytest.mark.anyio
ORDER = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
IN_TIME = 8.0
"""Each is answered within four seconds; one after the other they would take a minute."""


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[SqliteDatabase]:
    database = await open_sqlite(sqlite_url)
    yield database
    await database.close()


@contextmanager
def sqlite_locked(url: str) -> Iterator[None]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Hold the lock that every write needs; on PostgreSQL reads of jobs need it too."""
    if url.startswith("sqlite:"):
        with sqlite_locked(url):
            yield
        return
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.execute("LOCK TABLE jobs")
        yield


async def test_all_who_ask_a_locked_database_are_told_together_and_served_when_it_is_free(
    service: Service, database_url: str
) -> None:
    jobs = [await service.post("/v1/jobs", ORDER) for _ in range(10)]
    done: dict[str, Any] = {"status": "RUNNING"}

    async with locked(database_url), asyncio.timeout(IN_TIME), plain_client() as provider:
        urls = [service.callback_url("useapi", job["ref"]) for job in jobs]
        answers = await asyncio.gather(
            *(provider.post(url, json=done) for url in urls),
            *(service.http.post("/v1/jobs", json=ORDER) for _ in range(10)),
            *(service.http.get("/v1/jobs") for _ in range(5)),
        )
    callbacks = [await service.call_back("useapi", job["ref"], done) for job in jobs]
    await service.post("/v1/jobs", ORDER)

    assert [told_to_come_back(one) for one in answers[:20]] == [True] * 20
    assert all(one.is_success or told_to_come_back(one) for one in answers[20:])
    assert callbacks == [204] * 10


def told_to_come_back(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1


async def test_waits_for_the_writer_and_for_a_lock_do_not_add_up(
    database: SqliteDatabase, sqlite_url: str
) -> None:
    store = SqlStore(database)

    async with locked(sqlite_url), asyncio.timeout(IN_TIME):
        found = await asyncio.gather(
            *(store.subscriptions.put(a_subscription()) for _ in range(50)), return_exceptions=True
        )
    await store.subscriptions.put(a_subscription())

    assert {type(one) for one in found} == {Unavailable}


@pytest.mark.parametrize("kind", ["writing", "reading"])
async def test_whoever_waits_too_long_for_a_connection_is_told(kind: str, sqlite_url: str) -> None:
    database = await open_sqlite(sqlite_url, wait_seconds=0.1)
    connect = getattr(database, kind)

    async with asyncio.timeout(IN_TIME), AsyncExitStack() as taken:
        for _ in range({"writing": 1, "reading": READERS}[kind]):
            await taken.enter_async_context(connect())
        with pytest.raises(Unavailable, match="too busy"):
            await taken.enter_async_context(connect())
    async with connect() as session:
        found = await session.fetch("subscriptions_version")
    await database.close()

    assert found


async def test_a_locked_database_is_told_at_the_start(sqlite_url: str) -> None:
    store = await open_store(sqlite_url, T0)
    await store.close()

    async with locked(sqlite_url), asyncio.timeout(IN_TIME):
        with pytest.raises(StartError, match=r"BELFRY_DATABASE_URL: .*locked"):
            await open_store(sqlite_url, T0)
    await (await open_store(sqlite_url, T0)).close()
