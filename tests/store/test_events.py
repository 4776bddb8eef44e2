"""The event log: pages, tenants with new events, and lists."""

from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.events import PAGE_BYTES, Event
from service.transactions.store_protocols import Page, Store
from tests.support.factories import an_event
from tests.support.store_steps import ALL, append_events

pytestmark = pytest.mark.anyio


async def test_events_are_read_in_the_order_of_the_log(store: Store) -> None:
    one, two, three = await append_events(store, an_event(), an_event(), an_event())

    assert one.seq < two.seq < three.seq
    assert await store.events.after("acme", 0, 9) == [one, two, three]
    assert await store.events.after("acme", one.seq, 1) == [two]
    assert await store.events.after("acme", three.seq, 9) == []
    assert await store.events.last_seq() == three.seq


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ((9_000, 9_000, 9_000), 3),
        ((PAGE_BYTES // 2, PAGE_BYTES // 2, 1), 2),
        ((PAGE_BYTES // 2, PAGE_BYTES // 2 - 1, 1), 3),
        ((PAGE_BYTES * 3, 1), 1),
        ((1, PAGE_BYTES * 3, 1), 2),
    ],
)
async def test_a_page_ends_with_the_event_that_reaches_the_size_limit(
    sizes: tuple[int, ...], count: int, store: Store
) -> None:
    log = await append_events(store, *(an_event(payload=b"x" * size) for size in sizes))

    assert await store.events.after("acme", 0, 9) == log[:count]
    assert await store.events.after("acme", 0, 9, "job_1") == log[:count]


async def test_all_pages_together_are_the_whole_log(store: Store) -> None:
    log = await append_events(store, *(an_event(payload=b"x" * (n % 7) * 4_000) for n in range(30)))

    read: list[Event] = []
    while page := await store.events.after("acme", read[-1].seq if read else 0, 4):
        read += page

    assert read == log


async def test_tenants_with_new_events_are_found_with_their_last_seq(store: Store) -> None:
    names = ("acme", "other", "acme", "third")
    one, two, three, four = await append_events(store, *(an_event(tenant=name) for name in names))

    assert await store.events.tenants_after(0) == {
        "acme": three.seq,
        "other": two.seq,
        "third": four.seq,
    }
    assert await store.events.tenants_after(one.seq) == await store.events.tenants_after(0)
    assert await store.events.tenants_after(two.seq) == {"acme": three.seq, "third": four.seq}
    assert await store.events.tenants_after(four.seq) == {}


async def test_the_last_seq_of_an_empty_log_is_zero(store: Store) -> None:
    assert await store.events.last_seq() == 0


async def test_the_events_of_one_job_are_read(store: Store) -> None:
    one, _ = await append_events(store, an_event(job_id="job_1"), an_event(job_id="job_2"))

    assert await store.events.after("acme", 0, 9, "job_1") == [one]


async def test_a_payload_is_read_byte_for_byte(store: Store) -> None:
    event = an_event(payload=b'{"\x00\xff":1}', tags=("sea", "ü"), job_id=None, provider=None)

    (stored,) = await append_events(store, event)

    assert stored == replace(event, seq=stored.seq)


@pytest.mark.parametrize(
    "filters",
    [
        {"event_types": ["job.failed", "job.expired"]},
        {"job": "job_2"},
        {"provider": "runware"},
        {"job": "job_2", "event_types": ["job.failed", "job.expired"]},
    ],
)
async def test_events_are_found_by_each_filter(store: Store, filters: dict[str, Any]) -> None:
    event = an_event(type="job.failed", job_id="job_2", provider="runware")
    stored, _ = await append_events(store, event, an_event())

    assert await store.events.find("acme", filters, ALL) == [stored]


async def test_events_are_listed_newest_first_below_a_seq(store: Store) -> None:
    one, two, three = await append_events(store, an_event(), an_event(), an_event())

    assert await store.events.find("acme", {}, Page(limit=2)) == [three, two]
    assert await store.events.find("acme", {}, Page(limit=2, cursor=str(two.seq))) == [one]
