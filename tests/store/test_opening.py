"""Opening a store: restarts, leases of an earlier process, and SQLite's lock on its file."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from service.domain.deliveries.delivery import LEASE
from service.domain.deliveries.retry_policy import after_attempt
from service.domain.jobs.job import Status
from service.domain.primitives.errors import StartError
from service.domain.primitives.timestamps import SECOND
from service.transactions.store_protocols import Store
from store import open_store
from store.engine.sqlite import CHECKPOINT_EVERY
from tests.support.factories import T0, a_result, a_subscription
from tests.support.store_steps import (
    LATER,
    add_delivery,
    claim,
    claim_ids,
    insert_job,
    put_subscription,
    record_attempts,
)

pytestmark = pytest.mark.anyio


async def test_a_writable_store_passes_its_check(store: Store) -> None:
    await store.check()


async def test_data_survives_a_restart(database_url: str) -> None:
    store = await open_store(database_url, T0)
    job = await insert_job(store)
    await store.close()

    store = await open_store(database_url, T0)
    found = await store.jobs.get("acme", job.id)
    await store.close()

    assert found == job


async def test_the_leases_of_an_earlier_sqlite_process_end_at_the_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, T0)
    subscription = await put_subscription(store)
    leased = await add_delivery(store, subscription)
    await add_delivery(store, subscription, job_id="job_2", due_at=LATER)
    await claim(store)
    job = await insert_job(store, status=Status.SUBMITTING, due_at=LATER)
    await store.close()

    store = await open_store(url, T0 + 1)
    deliveries = await claim_ids(store, T0 + 1)
    unanswered = await store.jobs.claim_unanswered(T0 + 1, LATER)
    await store.close()

    assert deliveries == [leased.id]
    assert [one.id for one in unanswered] == [job.id]


async def test_leases_end_at_the_start_even_if_the_clock_was_set_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, LATER)
    subscription = await put_subscription(store)
    leased = await add_delivery(store, subscription)
    await claim(store, LATER)
    job = await insert_job(store, status=Status.SUBMITTED, deadline_at=T0)
    await store.jobs.claim_checks(LATER, LATER + LEASE, 9)
    await store.close()

    store = await open_store(url, T0)
    deliveries = await claim_ids(store, T0)
    checks = await store.jobs.claim_checks(T0, LATER + LEASE, 9)
    await store.close()

    assert deliveries == [leased.id]
    assert [check.job for check in checks] == [job]


async def test_a_retry_after_is_respected_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, T0)
    subscription = await put_subscription(store)
    await add_delivery(store, subscription)
    (task,) = await claim(store)
    busy = a_result(429, retry_after_seconds=30)
    await record_attempts(store, after_attempt(task.delivery, busy, 0))
    await store.close()

    store = await open_store(url, T0 + SECOND)
    before = await claim_ids(store, T0 + SECOND)
    after = await claim_ids(store, T0 + 30 * SECOND)
    await store.close()

    assert (before, after) == ([], [task.delivery.id])


async def test_a_second_process_cannot_open_the_same_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/belfry.db"
    store = await open_store(url, T0)

    with pytest.raises(StartError, match="another process"):
        await open_store(url, T0)
    await store.close()


async def test_sqlite_checkpoints_its_log_while_the_service_runs(tmp_path: Path) -> None:
    file = tmp_path / "belfry.db"
    store = await open_store(f"sqlite:///{file}", T0)
    for _ in range(2 * CHECKPOINT_EVERY - 1):
        await store.subscriptions.put(a_subscription())

    copy = shutil.copy(file, tmp_path / "copy.db")  # without the log
    with closing(sqlite3.connect(copy)) as copied:
        ((count,),) = copied.execute("SELECT COUNT(*) FROM subscriptions")
    await store.close()

    assert count >= CHECKPOINT_EVERY


async def test_a_missing_folder_is_an_error_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="BELFRY_DATABASE_URL"):
        await open_store(f"sqlite:///{tmp_path}/missing/belfry.db", T0)
