"""How the databases find things: by what is due or waits, never by all there is."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from service.domain.deliveries.delivery import LEASE, DeliveryTask
from service.domain.primitives.timestamps import SECOND
from service.transactions.change_set import ChangeSet
from service.transactions.store_protocols import Store
from store import open_store
from store.engine.dialect import Queries
from store.engine.postgres import DIALECT
from store.engine.sqlite import DIALECT as SQLITE
from tests.support.factories import T0, a_delivery, a_subscription, an_event
from tests.support.transactions import change

QUERIES, OURS = Queries(DIALECT), Queries(SQLITE)
LOOPS = (
    "jobs_under_way",
    "accounts_waiting",
    "jobs_queued",
    "unanswered_jobs",
    "next_job_due",
    "next_check",
    "claim_checks",
    "prunable_jobs",
    "prunable_system_events",
    "jobs_by_ref",
    "pending_pairs",
    "due_deliveries",
    "next_of_subscription",
    "park_deliveries",
    "next_delivery_due",
    "next_rate_slot",
    "rate_limited_subscriptions",
    "lease_deliveries",
    "update_delivery",
    "release_delivery",
    "supersede_range",
    "end_backlog",
    "resolve_callbacks",
    "expire_delivery_leases",
    "expire_job_leases",
    "expire_check_leases",
    "tenants_after",
    "claim_recovery",
    "oldest_pending",
)
"""Queries that run again and again, however much the store holds."""
LARGE = re.compile(r"SCAN (jobs|j|deliveries|d|events|e|callbacks|attempts)\b(?! USING .*INDEX)")
SCANNED = re.compile(r"(SCAN|SEARCH) \w+ USING (COVERING )?INDEX sqlite_autoindex_\w+$")
VALUES: dict[str, object] = {
    "at": T0,
    "horizon": T0 + SECOND,
    "too_far": T0 + LEASE,
    "full": [],
    "excluded": [],
    "limit": 200,
    "subscription": "sub_1",
}


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    store = await open_store(postgres_url, T0)
    yield store
    await store.close()


async def a_lot_is_owed(store: Store) -> None:
    """Half of it is due later, and half parked."""
    event, hooks = an_event(), [a_subscription() for _ in range(20)]
    for hook in hooks:
        await store.subscriptions.put(hook)
    tasks = [
        DeliveryTask(
            a_delivery(
                event_id=event.id,
                subscription_id=hooks[n % 20].id,
                job_id=f"job_{n % 500}",
                sequence=n,
                due_at=None if n % 2 else T0 + LEASE,
            ),
            hooks[n % 20],
            event.payload,
        )
        for n in range(4000)
    ]
    await change(store, [], lambda _: ChangeSet(events=[event], delivery_tasks=tasks))


@pytest.mark.anyio
@pytest.mark.parametrize("known", [False, True], ids=["new", "analyzed"])
@pytest.mark.parametrize("query", ["due_deliveries", "park_deliveries", "next_delivery_due"])
async def test_what_is_due_is_found_by_when_it_is_due(
    query: str, store: Store, postgres_url: str, *, known: bool
) -> None:
    await a_lot_is_owed(store)

    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        if known:
            await connection.execute("ANALYZE")
        cursor = await connection.execute(f"EXPLAIN {QUERIES.text(query, VALUES)}", VALUES)
        plan = "\n".join(str(row[0]) for row in await cursor.fetchall())

    assert "on deliveries_due" in plan or "using deliveries_due on deliveries" in plan
    assert "Seq Scan on deliveries" not in plan
    assert "Hash" not in plan.replace("HashAggregate", "")
    assert "Merge" not in plan


@pytest.fixture
def file(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """A database of SQLite with the schema and nothing in it, so nothing is known of it either."""
    asyncio.run(_made(sqlite_url))
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        yield connection


async def _made(url: str) -> None:
    await (await open_store(url, T0)).close()


def plan_of(file: sqlite3.Connection, query: str, *filters: str) -> str:
    sql = OURS.text(query, dict.fromkeys(filters))
    values = dict.fromkeys(re.findall(r":(\w+)", sql), "[]")
    return "\n".join(row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {sql}", values))


@pytest.mark.parametrize("query", LOOPS)
def test_no_loop_of_ours_walks_a_whole_table(query: str, file: sqlite3.Connection) -> None:
    plan = plan_of(file, query)

    assert not LARGE.search(plan), plan
    assert not SCANNED.search(plan), plan


@pytest.mark.parametrize("query", ["next_delivery_due", "expire_delivery_leases"])
def test_parked_deliveries_are_not_read_to_find_what_is_due(
    query: str, file: sqlite3.Connection
) -> None:
    assert "deliveries_due" in plan_of(file, query)


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ((), "events_of_tenant (tenant=? AND seq>?)"),
        (("job",), "events_of_job (job_id=? AND seq>?)"),
    ],
    ids=["all", "of a job"],
)
def test_a_page_of_the_log_is_read_through_an_index(
    filters: tuple[str, ...], index: str, file: sqlite3.Connection
) -> None:
    plan = plan_of(file, "event_page", *filters)

    assert index in plan
    assert "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)" in plan
    assert not LARGE.search(plan), plan


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("event_page", {"tenant": "acme", "seq": 500}),
        ("event_page", {"tenant": "acme", "seq": 500, "job": "job_1"}),
        ("tenants_after", {"seq": 500}),
        ("tenants_after", {"seq": 7990}),
    ],
)
async def test_the_log_is_read_on_without_a_row_too_many(
    query: str, wanted: dict[str, Any], store: Store, postgres_url: str
) -> None:
    log = [an_event(job_id=f"job_{n % 2}", payload=bytes(n % 999)) for n in range(8000)]
    await change(store, [], lambda _: ChangeSet(events=log))
    values = {"limit": 100, "max_bytes": 2000, **wanted}

    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute("ANALYZE")
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES.text(query, values)}"
        cursor = await connection.execute(explained, values)
        plan = [node async for (found,) in cursor for node in nodes_of(found[0]["Plan"])]

    read = [node for node in plan if node.get("Relation Name") == "events"]
    rows = [
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in read
    ]
    assert read
    assert all(count <= 200 for count in rows), plan


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give *plan*, and all the plans below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


@pytest.mark.parametrize(
    ("query", "filters", "index"),
    [
        ("list_jobs", ("status",), "by_status (tenant=? AND status=? AND id<?)"),
        ("list_jobs_selective", (), "sqlite_autoindex_jobs_1 (id=?)"),
        ("list_jobs_tagged", (), "sqlite_autoindex_job_tags_1 (tenant=? AND tag=?"),
        ("list_callbacks", ("quarantined",), "callbacks_to_reconcile (tenant=? AND id<?)"),
        ("list_callbacks_selective", (), "callbacks_once (job_id=?)"),
        ("list_deliveries", ("status",), "by_status (tenant=? AND status=? AND id<?)"),
        ("list_deliveries_selective", ("job",), "deliveries_of_job (job_id=?"),
        ("list_deliveries_selective", ("event",), "deliveries_of_event (event_id=?)"),
        ("list_deliveries_of_subscription", (), "deliveries_pending (subscription_id=?"),
        ("list_deliveries_of_subscription", (), "deliveries_finished (subscription_id=?"),
    ],
)
@pytest.mark.parametrize("narrowed", [False, True], ids=["alone", "with a status"])
def test_a_list_is_read_through_the_index_that_leaves_the_fewest_rows(
    query: str, filters: tuple[str, ...], index: str, file: sqlite3.Connection, *, narrowed: bool
) -> None:
    also = "verdict" if "callbacks" in query else "status"

    plan = plan_of(file, query, *filters, *([also] if narrowed else []))

    assert index in plan
    assert "of_tenant" not in plan
