"""`python -m tests.bench.owed URL`: fill a store as one that has seen a lot.

A million jobs, and of each a delivery owed to one of the receivers that are dead.
"""

import asyncio
import sqlite3
import sys
from contextlib import closing
from typing import Final

import msgspec
import psycopg

from service.domain.jobs.job import Status
from store import open_store
from tests.support.factories import T0, a_subscription, an_event, build_job

PENDING: Final = 1_000_000
DEAD_RECEIVERS: Final = 100
"""Receivers that are held, of another tenant; each is owed an equal part."""
_SERIES: Final = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})",
    "postgresql": "WITH n AS (SELECT generate_series(0, {last}) AS i)",
}
_NUMBER: Final = "substr(CAST(1000000000 + i AS TEXT), 2)"
NEVER: Final = 2**62
_ID: Final = "'{}_00000000000000000' || " + _NUMBER
_HOOK: Final = "sub_0000000000000000000000000{:02}"
_ROWS: Final = {
    "jobs": {
        "finished_at": str(T0),
        "id": _ID.format("job"),
        "tenant": "'acme'",
        "provider": "'useapi'",
        "operation": "'frames.create'",
        "account": "'useapi'",
        "status": "'succeeded'",
        "version": "3",
        "doc": "'{job}'",
    },
    "events": {
        "id": _ID.format("evt"),
        "tenant": "'acme'",
        "type": "'job.succeeded'",
        "at": str(T0),
        "sequence": "3",
        "job_id": _ID.format("job"),
        "provider": "'useapi'",
        "operation": "'frames.create'",
        "tags": "'[]'",
        "payload": "{payload}",
    },
    "deliveries": {
        "id": _ID.format("dlv"),
        "tenant": "'acme'",
        "event_id": _ID.format("evt"),
        "subscription_id": f"'{_HOOK[:-4]}' || substr({_NUMBER}, 8)",
        "job_id": _ID.format("job"),
        "sequence": "3",
        "type": "'job.succeeded'",
        "status": "'pending'",
        "created_at": str(T0),
        "due_at": "NULL",
        "tries": "1",
        "lease_version": "1",
    },
    "receiver_health": {
        "subscription_id": f"'{_HOOK[:-4]}' || substr({_NUMBER}, 8)",
        "failures": "5",
        "failing_since": str(T0),
        "probes": "1",
        "probe_at": str(NEVER),
        "warned": "0",
        "last_error": "'answered 500'",
        "last_error_at": str(T0),
    },
}


def fill(database_url: str) -> None:
    """Bring the schema, and put in what is owed."""
    asyncio.run(_create(database_url))
    kind = database_url.split(":", 1)[0]
    statements = [
        _insert(kind, table, DEAD_RECEIVERS if table == "receiver_health" else PENDING)
        for table in _ROWS
    ]
    if kind == "sqlite":
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as file, file:
            for statement in statements:
                file.execute(statement)
        return
    with psycopg.connect(database_url, autocommit=True) as server:
        for statement in (*statements, "VACUUM ANALYZE"):
            server.execute(statement)


async def _create(database_url: str) -> None:
    store = await open_store(database_url, T0)
    for n in range(DEAD_RECEIVERS):
        hook = a_subscription(id=_HOOK.format(n), url=f"https://dead-{n}.example", held=True)
        await store.subscriptions.put(hook)
    await store.close()


def _insert(kind: str, table: str, count: int) -> str:
    job = msgspec.json.encode(build_job(status=Status.SUCCEEDED)).decode()
    payload = an_event().payload * 20
    blob = f"x'{payload.hex()}'" if kind == "sqlite" else f"'\\x{payload.hex()}'::bytea"
    values = ", ".join(_ROWS[table].values()).replace("{job}", job).replace("{payload}", blob)
    series = _SERIES[kind].format(last=count - 1)
    columns = ", ".join(_ROWS[table])
    return f"INSERT INTO {table} ({columns}) {series} SELECT {values} FROM n"  # noqa: S608 - ours


if __name__ == "__main__":
    fill(sys.argv[1])
