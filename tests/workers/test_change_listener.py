"""How a process learns what others have committed: who is woken, and who is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import pytest

from service.domain.primitives.errors import Unavailable
from service.domain.security.api_keys import Principal
from service.runtime.open_streams import OpenStreams
from service.runtime.wakeups import Wakeup, Wakeups
from service.transactions.change_set import ChangeSet
from service.transactions.store_protocols import Store
from service.workers.change_listener import ChangeListener
from store import open_store
from tests.support.factories import T0, an_event
from tests.support.service_harness import eventually
from tests.support.transactions import change

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Ours, and another process's, on one database."""
    both = await asyncio.gather(*(open_store(postgres_url, T0) for _ in range(2)))
    yield both[0], both[1]
    await asyncio.gather(*(store.close() for store in both))


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Wakeups]:
    """Follow as two tenants; it begins when the first look has woken both."""
    wakeups = Wakeups()
    streams = OpenStreams(wakeups, max_per_tenant=1)
    opened = [streams.open(Principal(tenant=tenant, scopes=())) for tenant in ("acme", "other")]
    ticket = wakeups.next_wakeup("other")
    task = asyncio.create_task(ChangeListener(store, wakeups, streams, {}).run())
    await eventually(partial(is_set, ticket))
    try:
        yield wakeups
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for stream in opened:
            streams.close(stream)


async def is_set(ticket: Wakeup) -> bool:
    return ticket.is_set()


async def write(store: Store, tenant: str) -> None:
    await change(store, [], lambda _: ChangeSet(events=[an_event(tenant=tenant)]))


async def test_only_the_tenants_with_new_events_are_woken(stores: tuple[Store, Store]) -> None:
    ours, theirs = stores
    await write(theirs, "acme")
    async with listening(ours) as wakeups:
        acme = wakeups.next_wakeup("acme")
        for _ in range(3):
            other = wakeups.next_wakeup("other")
            await write(theirs, "other")
            await eventually(partial(is_set, other))
        untouched = not acme.is_set()
        await write(theirs, "acme")
        await eventually(partial(is_set, acme))

    assert untouched


async def test_new_events_are_found_though_nobody_tells_of_them(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    async with listening(stores[0]) as wakeups:
        ticket = wakeups.next_wakeup("acme")
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as silent:
            await silent.execute(
                "INSERT INTO events (id, tenant, type, at, sequence, tags, payload)"
                " VALUES ('evt_1', 'acme', 'job.queued', 1, 1, '[]', 'x')"
            )

        await eventually(partial(is_set, ticket))


async def test_new_events_are_found_after_the_database_was_away(
    stores: tuple[Store, Store], postgres_url: str
) -> None:
    async with listening(stores[0]) as wakeups:
        ticket = wakeups.next_wakeup("acme")
        await cut_off(postgres_url)
        await eventually(partial(is_written, stores[1], "acme"))

        await eventually(partial(is_set, ticket))


async def is_written(store: Store, tenant: str) -> bool:
    """Write an event; a connection that was cut is made anew for the next try."""
    try:
        await write(store, tenant)
    except Unavailable:
        return False
    return True


async def cut_off(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
