"""The change listener: which streams are woken by commits of other processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from service.domain.primitives.errors import Unavailable
from service.domain.security.api_keys import Principal
from service.runtime.open_streams import OpenStreams
from service.runtime.wakeups import Wakeup, Wakeups
from service.transactions.store_protocols import Store
from service.workers.change_listener import ChangeListener
from tests.support.databases import connected, end_connections
from tests.support.factories import an_event
from tests.support.service_harness import eventually
from tests.support.transactions import change, write

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Wakeups]:
    """Listen with streams of two tenants; the block begins when the first read has woken both."""
    wakeups = Wakeups()
    streams = OpenStreams(wakeups, max_per_tenant=1)
    opened = [streams.open(Principal(tenant=tenant, scopes=())) for tenant in ("acme", "other")]
    wakeup = wakeups.next_wakeup("other")
    task = asyncio.create_task(ChangeListener(store, wakeups, streams, {}).run())
    await eventually(partial(is_set, wakeup))
    try:
        yield wakeups
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for stream in opened:
            streams.close(stream)


async def is_set(wakeup: Wakeup) -> bool:
    return wakeup.is_set()


async def write_event(store: Store, tenant: str) -> None:
    await change(store, [], write(events=[an_event(tenant=tenant)]))


async def test_only_the_tenants_with_new_events_are_woken(stores: tuple[Store, Store]) -> None:
    listener, writer = stores
    await write_event(writer, "acme")
    async with listening(listener) as wakeups:
        acme = wakeups.next_wakeup("acme")
        for _ in range(3):
            other = wakeups.next_wakeup("other")
            await write_event(writer, "other")
            await eventually(partial(is_set, other))
        acme_was_woken = acme.is_set()
        await write_event(writer, "acme")
        await eventually(partial(is_set, acme))

    assert not acme_was_woken


async def test_new_events_are_found_without_a_notification(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    async with listening(stores[0]) as wakeups:
        wakeup = wakeups.next_wakeup("acme")
        async with connected(postgres_url) as connection:
            await connection.execute(
                "INSERT INTO events (id, tenant, type, at, sequence, tags, payload)"
                " VALUES ('evt_1', 'acme', 'job.queued', 1, 1, '[]', 'x')"
            )

        await eventually(partial(is_set, wakeup))


async def test_new_events_are_found_after_a_lost_connection(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    async with listening(stores[0]) as wakeups:
        wakeup = wakeups.next_wakeup("acme")
        await end_connections(postgres_url)
        await eventually(partial(has_written, stores[1], "acme"))

        await eventually(partial(is_set, wakeup))


async def has_written(store: Store, tenant: str) -> bool:
    """Write an event; False if the connection was lost, which the next try replaces."""
    try:
        await write_event(store, tenant)
    except Unavailable:
        return False
    return True
