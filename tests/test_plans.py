"""How PostgreSQL goes about the claims: by what is due, never by all that is owed."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from service.deliveries import HELD, LEASE, Parcel
from service.ports import Changes, Store
from service.times import SECOND
from store import open_store
from store.dialect import Queries
from store.postgres import DIALECT
from tests.makers import NOON, a_delivery, a_subscription, an_event

pytestmark = pytest.mark.anyio

QUERIES = Queries(DIALECT)
VALUES: dict[str, object] = {
    "at": NOON,
    "held": HELD,
    "horizon": NOON + SECOND,
    "full": [],
    "shut": [],
    "limit": 200,
    "subscription": "sub_1",
}


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    store = await open_store(postgres_url, NOON)
    yield store
    await store.close()


async def a_lot_is_owed(store: Store) -> None:
    """Half of it is due later, and half parked."""
    event, hooks = an_event(), [a_subscription() for _ in range(20)]
    for hook in hooks:
        await store.put_subscription(hook)
    parcels = [
        Parcel(
            a_delivery(
                event_id=event.id,
                subscription_id=hooks[n % 20].id,
                job_id=f"job_{n % 500}",
                sequence=n,
                due_at=HELD if n % 2 else NOON + LEASE,
            ),
            hooks[n % 20],
            event.payload,
        )
        for n in range(4000)
    ]
    await store.change([], lambda _: Changes(events=[event], parcels=parcels))


@pytest.mark.parametrize("known", [False, True], ids=["new", "analyzed"])
@pytest.mark.parametrize("query", ["due_deliveries", "park_deliveries", "next_delivery_due"])
async def test_what_is_due_is_found_by_when_it_is_due(
    query: str, store: Store, postgres_url: str, *, known: bool
) -> None:
    await a_lot_is_owed(store)

    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        if known:
            await connection.execute("ANALYZE")
        cursor = await connection.execute(f"EXPLAIN {QUERIES.text(query)}", VALUES)
        plan = "\n".join(str(row[0]) for row in await cursor.fetchall())

    assert "on deliveries_due" in plan or "using deliveries_due on deliveries" in plan
    assert "Seq Scan on deliveries" not in plan
    assert "Hash" not in plan.replace("HashAggregate", "")
    assert "Merge" not in plan
