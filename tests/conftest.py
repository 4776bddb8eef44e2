"""Fixtures of all tests."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from coverage import Coverage

from service.runtime.open_streams import HEARTBEAT_SECONDS
from service.transactions.store_protocols import Store
from store import open_store
from tests.support.databases import fresh_database, postgres_server, sqlite_file
from tests.support.disk_faults import Disk
from tests.support.factories import T0
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Receiver, receiving
from tests.support.service_harness import (
    SandboxedService,
    Service,
    running_service,
    sandboxed_service,
)
from tests.support.watchdog import LIMIT_SECONDS, LONG, WatchedLoop


def pytest_configure() -> None:
    """Log plain lines: structlog's own tracebacks are slow."""
    plain = structlog.processors.KeyValueRenderer(key_order=["event"])
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            plain,
        ]
    )


def pytest_collection_finish() -> None:
    """Exclude the test modules from garbage collection, which would block the loop for 100 ms."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Save what was measured: a worker of xdist may be ended before it does so at its exit."""
    if measurement := Coverage.current():
        measurement.stop()
        measurement.save()


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": WatchedLoop}


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that blocked the event loop too long; the marker `busy_loop` sets the limit."""
    LONG.clear()
    yield
    marker = request.node.get_closest_marker("busy_loop")
    limit = marker.args[0] if marker else LIMIT_SECONDS
    long = [str(turn) for turn in LONG if turn.seconds > limit]
    assert not long, "\n".join(["The event loop was blocked:", *long])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, started for the first test that needs it."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def sqlite_url() -> Iterator[str]:
    with sqlite_file() as url:
        yield url


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """The disk under the SQLite file of a process, which can be made to fail."""
    disk = Disk(tmp_path)
    disk.compile()
    return disk


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A new database of each kind that Belfry supports."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await open_store(database_url, T0)
    yield store
    await store.close()


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """The stores of two processes on one database."""
    first, second = await open_store(postgres_url, T0), await open_store(postgres_url, T0)
    yield first, second
    await asyncio.gather(first.close(), second.close())


@pytest.fixture
def clock() -> MovableClock:
    """The clock of the fixture `service`; a test advances it instead of waiting."""
    return MovableClock()


@pytest.fixture
async def sandboxed(database_url: str) -> AsyncIterator[SandboxedService]:
    """A service with the sandbox providers, both on real sockets."""
    async with sandboxed_service(database_url) as sandboxed:
        yield sandboxed


@pytest.fixture
async def service(database_url: str, clock: MovableClock) -> AsyncIterator[Service]:
    """A service whose providers cannot be reached."""
    async with running_service(database_url, HEARTBEAT_SECONDS, clock) as service:
        yield service


@pytest.fixture(scope="module")
async def shared_service(anyio_backend: tuple[str, dict[str, Any]]) -> AsyncIterator[Service]:
    """One service for all tests of a module, which must not depend on stored data."""
    assert anyio_backend[0] == "asyncio"
    with sqlite_file() as url:
        async with running_service(url) as service:
            yield service


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver
