"""From one machine to many: the store of a stopped service moves to PostgreSQL whole."""

import asyncio
import os
import sys

import pytest

from service.transactions.change_set import ChangeSet, Snapshot
from store import open_store
from tests.support.factories import T0, a_new_job
from tests.support.job_steps import DONE
from tests.support.paths import ROOT
from tests.support.receivers import Receiver
from tests.support.service_harness import (
    Service,
    coverage_environ,
    eventually,
    running_service,
)
from tests.support.transactions import add_jobs

pytestmark = pytest.mark.anyio


def nothing(_: Snapshot) -> ChangeSet:
    return ChangeSet()


async def moved(source: str, target: str) -> tuple[int, str]:
    command = (sys.executable, "-c", "from service.cli import main; main()", "migrate-store")
    process = await asyncio.create_subprocess_exec(
        *command,
        source,
        target,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**coverage_environ(), "PATH": os.environ["PATH"], "PYTHONPATH": "."},
        cwd=ROOT,
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def submit_job(service: Service) -> str:
    job = await service.submit("useapi", "frames.create", {"text_prompt": "x"}, tags=["moved"])
    return str(job["id"])


async def delivered(service: Service, count: int) -> bool:
    return len(await service.deliveries(status="delivered")) == count


async def test_a_moved_store_goes_on_where_it_was(
    sqlite_url: str, postgres_url: str, receiver: Receiver
) -> None:
    async with running_service(sqlite_url) as service:
        await service.subscribe(receiver.url)
        done, open_ = await submit_job(service), await submit_job(service)
        assert await service.call_back("useapi", (await service.job(done))["ref"], DONE) == 204
        await eventually(lambda: delivered(service, 1))
        before = [await service.job(done), await service.job(open_)]

    code, printed = await moved(sqlite_url, postgres_url)
    async with running_service(postgres_url) as service:
        after = [await service.job(done), await service.job(open_)]
        assert await service.call_back("useapi", before[1]["ref"], DONE) == 204
        await eventually(lambda: delivered(service, 2))
        sequences = [
            event["sequence"] for event in (await service.get(f"/v1/jobs/{open_}/events"))["data"]
        ]

    assert code == 0, printed
    assert "Copied every row" in printed
    assert after[0] == before[0]
    assert after[1]["ref"] == before[1]["ref"]
    assert len(sequences) == len(set(sequences))


async def test_a_store_in_use_is_not_copied(sqlite_url: str, postgres_url: str) -> None:
    async with running_service(sqlite_url):
        code, printed = await moved(sqlite_url, postgres_url)

    assert code == 1
    assert "another process has" in printed


async def test_a_target_that_is_not_empty_is_left_as_it_is(
    sqlite_url: str, postgres_url: str
) -> None:
    for url in (sqlite_url, postgres_url):
        store = await open_store(url, T0)
        await add_jobs(store, [a_new_job()], None, nothing)
        await store.close()

    code, printed = await moved(sqlite_url, postgres_url)

    assert code == 1
    assert "is not empty" in printed


@pytest.mark.parametrize(("source", "target"), [("x", "y"), ("postgresql://h/d", "sqlite:///x")])
async def test_urls_the_wrong_way_round_are_refused(source: str, target: str) -> None:
    code, printed = await moved(source, target)

    assert code == 2
    assert "FROM is sqlite:///PATH" in printed
