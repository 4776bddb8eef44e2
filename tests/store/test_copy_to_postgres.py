"""`belfry migrate-store` copies the store of a stopped service to PostgreSQL."""

import asyncio
import os
import sys

import pytest

from store import open_store
from tests.support.factories import T0
from tests.support.job_steps import DONE, an_ended_job, submit_job
from tests.support.paths import ROOT
from tests.support.receivers import Receiver
from tests.support.service_harness import (
    Service,
    coverage_environ,
    eventually,
    running_service,
)
from tests.support.store_steps import insert_job

pytestmark = pytest.mark.anyio


async def migrate_store(source: str, target: str) -> tuple[int, str]:
    """Run the command; returns its exit status and its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "migrate-store",
        source,
        target,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**coverage_environ(), "PATH": os.environ["PATH"], "PYTHONPATH": "."},
        cwd=ROOT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def has_delivered(service: Service, count: int) -> bool:
    return len(await service.deliveries(status="delivered")) == count


async def test_a_copied_store_continues_where_the_old_one_stopped(
    sqlite_url: str, postgres_url: str, receiver: Receiver
) -> None:
    async with running_service(sqlite_url) as service:
        await service.subscribe(receiver.url)
        done = (await an_ended_job(service, tags=["copied"]))["id"]
        open_ = (await submit_job(service, tags=["copied"]))["id"]
        await eventually(lambda: has_delivered(service, 1))
        before = [await service.job(done), await service.job(open_)]

    code, output = await migrate_store(sqlite_url, postgres_url)
    async with running_service(postgres_url) as service:
        after = [await service.job(done), await service.job(open_)]
        assert await service.call_back("useapi", before[1]["ref"], DONE) == 204
        await eventually(lambda: has_delivered(service, 2))
        sequences = [
            event["sequence"] for event in (await service.get(f"/v1/jobs/{open_}/events"))["data"]
        ]

    assert code == 0, output
    assert "Copied every row" in output
    assert after[0] == before[0]
    assert after[1]["ref"] == before[1]["ref"]
    assert len(sequences) == len(set(sequences))


async def test_a_store_that_is_in_use_is_not_copied(sqlite_url: str, postgres_url: str) -> None:
    async with running_service(sqlite_url):
        code, output = await migrate_store(sqlite_url, postgres_url)

    assert code == 1
    assert "another process has" in output


async def test_a_target_that_is_not_empty_is_rejected(sqlite_url: str, postgres_url: str) -> None:
    for url in (sqlite_url, postgres_url):
        store = await open_store(url, T0)
        await insert_job(store)
        await store.close()

    code, output = await migrate_store(sqlite_url, postgres_url)

    assert code == 1
    assert "is not empty" in output


@pytest.mark.parametrize(("source", "target"), [("x", "y"), ("postgresql://h/d", "sqlite:///x")])
async def test_swapped_urls_are_rejected(source: str, target: str) -> None:
    code, output = await migrate_store(source, target)

    assert code == 2
    assert "FROM is sqlite:///PATH" in output
