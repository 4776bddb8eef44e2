"""The memory that streams use when their clients do not read."""

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
"""Bytes: 256 KiB for each stream, and 8 MiB for imports and caches of the first requests."""


async def test_clients_that_do_not_read_use_256_kib_each_and_later_ones_no_more(
    database_url: str, tmp_path: Path
) -> None:
    store = await open_store(database_url, T0)
    await write_log(store, count=400, size=12_000)
    await store.close()
    async with a_process(database_url, tmp_path) as service:
        before = service.resident_bytes

        first = await memory_of_unread_streams(service) - before
        second = await memory_of_unread_streams(service) - before

    assert first < LIMIT
    assert second < LIMIT, "the memory of the first streams was not used again"


async def memory_of_unread_streams(service: ServiceProcess) -> int:
    """Open streams without reading, then close them; returns the highest memory use in bytes."""
    with ExitStack() as opened:
        for _ in range(CLIENTS):
            client = opened.enter_context(unread_stream(service.port))
            await eventually(partial(has_first_page, client))
        while_open = service.resident_bytes
    await eventually(lambda: all_streams_closed(service))
    return max(while_open, service.resident_bytes)


async def all_streams_closed(service: ServiceProcess) -> bool:
    return "belfry_streams 0.0" in (await service.http.get("/metrics")).text
