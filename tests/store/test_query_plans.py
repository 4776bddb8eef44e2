"""Query plans: frequent queries use indexes and never scan large tables."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import pytest

from service.domain.deliveries.delivery import LEASE, DeliveryTask
from service.domain.jobs.job import Status
from service.domain.primitives.timestamps import SECOND
from service.transactions.store_protocols import Store
from store import open_store
from store.engine import postgres, sqlite
from store.engine.dialect import Queries
from tests.support.databases import connected
from tests.support.factories import T0, a_delivery, a_new_job, a_subscription, an_event
from tests.support.store_steps import insert_jobs
from tests.support.transactions import add_jobs, change, no_changes, write

POSTGRES_QUERIES, SQLITE_QUERIES = Queries(postgres.DIALECT), Queries(sqlite.DIALECT)
FREQUENT = (
    "jobs_under_way",
    "queues_waiting",
    "jobs_queued",
    "unanswered_jobs",
    "next_job_due",
    "next_check",
    "claim_checks",
    "last_ended_jobs",
    "prunable_jobs",
    "prunable_system_events",
    "jobs_by_ref",
    "assets_by_uuid",
    "list_assets",
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
"""Queries that run repeatedly, and must be fast however large the store is."""
TABLE_SCAN = re.compile(
    r"SCAN (jobs|j|deliveries|d|events|e|callbacks|attempts|assets)\b(?! USING .*INDEX)"
)
KEY_INDEX_SCAN = re.compile(r"(SCAN|SEARCH) \w+ USING (COVERING )?INDEX sqlite_autoindex_\w+$")
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
async def postgres_store(postgres_url: str) -> AsyncIterator[Store]:
    store = await open_store(postgres_url, T0)
    yield store
    await store.close()


async def add_many_deliveries(store: Store) -> None:
    """Half of them are due later, and half are parked."""
    event, subscriptions = an_event(), [a_subscription() for _ in range(20)]
    for subscription in subscriptions:
        await store.subscriptions.put(subscription)
    tasks = [
        DeliveryTask(
            a_delivery(
                event_id=event.id,
                subscription_id=subscriptions[n % 20].id,
                job_id=f"job_{n % 500}",
                sequence=n,
                due_at=None if n % 2 else T0 + LEASE,
            ),
            subscriptions[n % 20],
            event.payload,
        )
        for n in range(4000)
    ]
    await change(store, [], write(events=[event], delivery_tasks=tasks))


@pytest.mark.anyio
@pytest.mark.parametrize("analyzed", [False, True], ids=["new", "analyzed"])
@pytest.mark.parametrize("query", ["due_deliveries", "park_deliveries", "next_delivery_due"])
async def test_due_deliveries_are_found_by_the_index_on_due_at(
    query: str, postgres_store: Store, postgres_url: str, *, analyzed: bool
) -> None:
    await add_many_deliveries(postgres_store)

    async with connected(postgres_url) as connection:
        if analyzed:
            await connection.execute("ANALYZE")
        cursor = await connection.execute(
            f"EXPLAIN {POSTGRES_QUERIES.text(query, VALUES)}".encode(), VALUES
        )
        plan = "\n".join(str(row[0]) for row in await cursor.fetchall())

    assert "on deliveries_due" in plan or "using deliveries_due on deliveries" in plan
    assert "Seq Scan on deliveries" not in plan
    assert "Hash" not in plan.replace("HashAggregate", "")
    assert "Merge" not in plan


@pytest.mark.anyio
async def test_the_last_ended_jobs_of_an_account_are_read_by_their_index(
    postgres_store: Store, postgres_url: str
) -> None:
    new = [a_new_job(status=Status.SUCCEEDED, finished_at=T0 + n) for n in range(2000)]
    await add_jobs(postgres_store, new, None, no_changes)
    values = {"account": "useapi", "without": [new[-1].job.id], "limit": 100}

    async with connected(postgres_url) as connection:
        await connection.execute("ANALYZE")
        explained = f"EXPLAIN {POSTGRES_QUERIES.text('last_ended_jobs', values)}"
        cursor = await connection.execute(explained.encode(), values)
        plan = "\n".join(str(row[0]) for row in await cursor.fetchall())

    assert "Index Scan Backward using jobs_ended on jobs" in plan
    assert "Sort" not in plan


@pytest.fixture
def empty_sqlite(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """An empty SQLite database with the schema, and therefore without statistics."""
    asyncio.run(_create(sqlite_url))
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        yield connection


async def _create(url: str) -> None:
    await (await open_store(url, T0)).close()


def sqlite_plan(database: sqlite3.Connection, query: str, *filters: str) -> str:
    sql = SQLITE_QUERIES.text(query, dict.fromkeys(filters))
    values = dict.fromkeys(re.findall(r":(\w+)", sql), "[]")
    return "\n".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values))


@pytest.mark.parametrize("query", FREQUENT)
def test_no_frequent_query_scans_a_large_table(
    query: str, empty_sqlite: sqlite3.Connection
) -> None:
    plan = sqlite_plan(empty_sqlite, query)

    assert not TABLE_SCAN.search(plan), plan
    assert not KEY_INDEX_SCAN.search(plan), plan


def test_the_last_ended_jobs_are_not_sorted(empty_sqlite: sqlite3.Connection) -> None:
    plan = sqlite_plan(empty_sqlite, "last_ended_jobs")

    assert "jobs USING INDEX jobs_ended (account=? AND finished_at>?)" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("query", ["next_delivery_due", "expire_delivery_leases"])
def test_parked_deliveries_are_not_read_to_find_what_is_due(
    query: str, empty_sqlite: sqlite3.Connection
) -> None:
    assert "deliveries_due" in sqlite_plan(empty_sqlite, query)


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ((), "events_of_tenant (tenant=? AND seq>?)"),
        (("job",), "events_of_job (job_id=? AND seq>?)"),
    ],
    ids=["all", "of a job"],
)
def test_a_page_of_the_log_is_read_by_an_index(
    filters: tuple[str, ...], index: str, empty_sqlite: sqlite3.Connection
) -> None:
    plan = sqlite_plan(empty_sqlite, "event_page", *filters)

    assert index in plan
    assert "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)" in plan
    assert not TABLE_SCAN.search(plan), plan


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "filters"),
    [
        ("event_page", {"tenant": "acme", "seq": 500}),
        ("event_page", {"tenant": "acme", "seq": 500, "job": "job_1"}),
        ("tenants_after", {"seq": 500}),
        ("tenants_after", {"seq": 7990}),
    ],
)
async def test_a_page_of_the_log_reads_no_superfluous_rows(
    query: str, filters: dict[str, Any], postgres_store: Store, postgres_url: str
) -> None:
    events = [an_event(job_id=f"job_{n % 2}", payload=bytes(n % 999)) for n in range(8000)]
    await change(postgres_store, [], write(events=events))
    values = {"limit": 100, "max_bytes": 2000, **filters}

    async with connected(postgres_url) as connection:
        await connection.execute("ANALYZE")
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {POSTGRES_QUERIES.text(query, values)}"
        cursor = await connection.execute(explained.encode(), values)
        plan = [node async for (found,) in cursor for node in nodes_of(found[0]["Plan"])]

    reads = [node for node in plan if node.get("Relation Name") == "events"]
    rows = [
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in reads
    ]
    assert reads
    assert all(count <= 200 for count in rows), plan


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield *plan* and all plans below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes_of(child)


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
@pytest.mark.parametrize("with_status", [False, True], ids=["alone", "with a status"])
def test_a_list_is_read_by_its_most_selective_index(
    query: str,
    filters: tuple[str, ...],
    index: str,
    empty_sqlite: sqlite3.Connection,
    *,
    with_status: bool,
) -> None:
    status = "verdict" if "callbacks" in query else "status"

    plan = sqlite_plan(empty_sqlite, query, *filters, *([status] if with_status else []))

    assert index in plan
    assert "of_tenant" not in plan


WAITING = ("queues_waiting", "jobs_queued")


@pytest.mark.parametrize("query", [*WAITING, "next_job_due", "unanswered_jobs"])
def test_a_claim_reads_only_the_jobs_that_it_takes(
    query: str, empty_sqlite: sqlite3.Connection
) -> None:
    plan = sqlite_plan(empty_sqlite, query)

    assert ("jobs_queued" if query in WAITING else "jobs_due") in plan
    assert "TEMP B-TREE" not in plan
    assert not re.search(r"SCAN (jobs|j)\b", plan), plan


@pytest.mark.anyio
@pytest.mark.parametrize("analyzed", [False, True], ids=["new", "analyzed"])
@pytest.mark.parametrize("query", WAITING)
async def test_waiting_jobs_are_not_read_one_by_one(
    query: str, postgres_store: Store, postgres_url: str, *, analyzed: bool
) -> None:
    for most in (None, 1, 2):
        await insert_jobs(postgres_store, *(a_new_job(max_jobs=most) for _ in range(2000)))
    values = {"at": T0, "limit": 10, "queue": '["useapi",1]'}

    async with connected(postgres_url) as connection:
        if analyzed:
            await connection.execute("ANALYZE")
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {POSTGRES_QUERIES.text(query, values)}"
        cursor = await connection.execute(explained.encode(), values)
        plan = [node async for (found,) in cursor for node in nodes_of(found[0]["Plan"])]

    reads = [node["Actual Rows"] * node["Actual Loops"] for node in plan if "Index" in str(node)]
    assert "Seq Scan" not in {node["Node Type"] for node in plan if node.get("Alias") != "waiting"}
    assert max(reads, default=0) <= 10, plan
