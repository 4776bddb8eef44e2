"""What all tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.receivers import Receiver, receiving
from tests.running import Bench, Service, bench_of, running_service


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind that Belfry runs on."""
    assert request.param == "sqlite"
    return f"sqlite:///{tmp_path}/belfry.db"


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    """A service with the sandbox providers, both on real sockets."""
    async with bench_of(database_url) as bench:
        yield bench


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    """A service whose providers cannot be reached."""
    async with running_service(database_url) as service:
        yield service


@pytest.fixture(scope="module")
async def steady(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """One service for all tests of a file that only knock: they leave nothing behind."""
    assert anyio_backend == "asyncio"
    async with running_service(f"sqlite:///{tmp_path_factory.mktemp('steady')}/belfry.db") as one:
        yield one


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver
