"""Another program locks the database: callers get 503 in time, and success after the lock."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing

import httpx
import psycopg
import pytest

from service.domain.primitives.errors import StartError, Unavailable
from store import open_store
from store.engine.sqlite import READERS, SqliteDatabase, open_sqlite
from store.sql_store import SqlStore
from tests.support.factories import T0, a_subscription
from tests.support.job_steps import JOB_REQUEST
from tests.support.service_harness import Service, plain_client

pytestmark = pytest.mark.anyio
LIMIT_SECONDS = 8.0
"""Each call takes at most four seconds; one after the other they would take a minute."""


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[SqliteDatabase]:
    database = await open_sqlite(sqlite_url)
    yield database
    await database.close()


@asynccontextmanager
async def lock_database(url: str) -> AsyncIterator[None]:
    """Hold the lock that every write needs; on PostgreSQL reads of jobs need it too."""
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        async with await psycopg.AsyncConnection.connect(url) as other_process:
            await other_process.execute("LOCK TABLE jobs")
            yield


async def test_requests_get_503_while_the_database_is_locked_and_succeed_afterwards(
    service: Service, database_url: str
) -> None:
    jobs = [await service.post("/v1/jobs", JOB_REQUEST) for _ in range(10)]
    running = {"status": "RUNNING"}

    async with (
        lock_database(database_url),
        asyncio.timeout(LIMIT_SECONDS),
        plain_client() as provider,
    ):
        urls = [service.callback_url("useapi", job["ref"]) for job in jobs]
        responses = await asyncio.gather(
            *(provider.post(url, json=running) for url in urls),
            *(service.http.post("/v1/jobs", json=JOB_REQUEST) for _ in range(10)),
            *(service.http.get("/v1/jobs") for _ in range(5)),
        )
    callbacks = [await service.call_back("useapi", job["ref"], running) for job in jobs]
    await service.post("/v1/jobs", JOB_REQUEST)

    assert [is_unavailable(one) for one in responses[:20]] == [True] * 20
    assert all(one.is_success or is_unavailable(one) for one in responses[20:])
    assert callbacks == [204] * 10


def is_unavailable(response: httpx.Response) -> bool:
    return response.status_code == 503 and int(response.headers["retry-after"]) >= 1


async def test_waits_for_the_writer_and_for_a_lock_do_not_add_up(
    database: SqliteDatabase, sqlite_url: str
) -> None:
    store = SqlStore(database)

    async with lock_database(sqlite_url), asyncio.timeout(LIMIT_SECONDS):
        errors = await asyncio.gather(
            *(store.subscriptions.put(a_subscription()) for _ in range(50)), return_exceptions=True
        )
    await store.subscriptions.put(a_subscription())

    assert {type(error) for error in errors} == {Unavailable}


@pytest.mark.parametrize("kind", ["writing", "reading"])
async def test_waiting_too_long_for_a_connection_raises_unavailable(
    kind: str, sqlite_url: str
) -> None:
    database = await open_sqlite(sqlite_url, wait_seconds=0.1)
    open_session = getattr(database, kind)

    async with asyncio.timeout(LIMIT_SECONDS), AsyncExitStack() as sessions:
        for _ in range({"writing": 1, "reading": READERS}[kind]):
            await sessions.enter_async_context(open_session())
        with pytest.raises(Unavailable, match="too busy"):
            await sessions.enter_async_context(open_session())
    async with open_session() as session:
        rows = await session.fetch("subscriptions_version")

    assert rows


async def test_a_locked_database_is_a_start_error(sqlite_url: str) -> None:
    store = await open_store(sqlite_url, T0)
    await store.close()

    async with lock_database(sqlite_url), asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(StartError, match=r"BELFRY_DATABASE_URL: .*locked"):
            await open_store(sqlite_url, T0)
    await (await open_store(sqlite_url, T0)).close()
