"""What streams cost in memory when their clients do not read."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from store import open_store
from tests.support.factories import T0
from tests.support.service_harness import ServiceProcess, a_process, eventually
from tests.support.silent_readers import has_first_page, unread_stream, write_log

pytestmark = pytest.mark.anyio

CLIENTS = 50
LIMIT = CLIENTS * 256 * 1024 + 8 * 2**20
"""What so many streams may hold, and what the first requests cost in imports and caches."""


async def test_clients_that_unread_stream_cost_256_kib_each_and_later_ones_no_more(
    database_url: str, tmp_path: Path
) -> None:
    store = await open_store(database_url, T0)
    await write_log(store, count=400, size=12_000)
    await store.close()
    async with a_process(database_url, tmp_path) as service:
        before = service.resident_bytes

        first = await read_by_nobody(service) - before
        again = await read_by_nobody(service) - before

    assert first < LIMIT
    assert again < LIMIT, "what the first streams held was not used again"


async def read_by_nobody(service: ServiceProcess) -> int:
    """Open streams that nobody reads, close them, and say how much memory is in use then."""
    with ExitStack() as opened:
        for _ in range(CLIENTS):
            client = opened.enter_context(unread_stream(service.port))
            await eventually(partial(has_first_page, client))
        held = service.resident_bytes
    await eventually(lambda: all_gone(service))
    return max(held, service.resident_bytes)


async def all_gone(service: ServiceProcess) -> bool:
    return "belfry_streams 0.0" in (await service.http.get("/metrics")).text
