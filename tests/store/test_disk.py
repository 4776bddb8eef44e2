"""Disk errors of a real process: no acknowledged write is lost, and callers get an error."""

import errno
from pathlib import Path

import pytest

from service.domain.primitives.errors import Unavailable
from service.domain.security.callback_signer import CallbackSigner
from store import open_store
from tests.support.disk_faults import Disk
from tests.support.factories import T0
from tests.support.job_steps import JOB_REQUEST
from tests.support.receivers import Receiver, json_answer
from tests.support.service_harness import (
    SIGNING_KEY,
    ServiceProcess,
    a_process,
    eventually,
    plain_client,
    providers_at,
)

pytestmark = pytest.mark.anyio
WRITE_CALLS = ("write", "pwrite", "ftruncate")
FAILING_CALLS = {"in the middle": "pread", "at the commit": "fsync"}


def delete(path: str) -> None:
    Path(path).unlink()


def link(path: str, other: str) -> None:
    Path(other).hardlink_to(path)


async def callback_url(service: ServiceProcess, job_id: str) -> str:
    ref = (await service.job(job_id))["ref"]
    token = CallbackSigner([SIGNING_KEY]).sign("useapi", ref, 1)
    return f"{service.url}/callbacks/useapi/{ref}?t={token}"


async def call_back(url: str) -> int:
    async with plain_client() as provider:
        return (await provider.post(url, json={"status": "RUNNING"})).status_code


async def is_ready(service: ServiceProcess) -> bool:
    return (await service.http.get("/readyz")).status_code == 200


async def is_paused(service: ServiceProcess) -> bool:
    return bool((await service.get("/readyz"))["accounts"])


async def test_writes_fail_while_the_disk_is_full_and_succeed_afterwards(
    sqlite_url: str, tmp_path: Path, disk: Disk
) -> None:
    async with a_process(sqlite_url, tmp_path, **disk.environment) as service:
        job = await service.post("/v1/jobs", JOB_REQUEST)
        url = await callback_url(service, job["id"])

        disk.fail(errno.ENOSPC, *WRITE_CALLS)
        probe = await service.unready()
        submit = await service.http.post("/v1/jobs", json=JOB_REQUEST)
        callback = await call_back(url)
        read = await service.job(job["id"])
        disk.repair()
        await eventually(lambda: is_ready(service))
        again = await call_back(url)
        await service.post("/v1/jobs", JOB_REQUEST)

    assert "full" in probe.json()["store"]
    assert (submit.status_code, callback, again) == (503, 503, 204)
    assert int(submit.headers["retry-after"]) >= 1
    assert read["id"] == job["id"]


async def test_a_deleted_log_is_reported_and_no_acknowledged_write_is_lost(
    sqlite_url: str, tmp_path: Path
) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    async with a_process(sqlite_url, tmp_path) as service:
        jobs = [await service.post("/v1/jobs", JOB_REQUEST) for _ in range(3)]
        url = await callback_url(service, jobs[0]["id"])

        delete(f"{path}-wal")
        refused = await service.http.post("/v1/jobs", json=JOB_REQUEST)
        callback = await call_back(url)
        probe = await service.unready()
        lines = service.log.read_text().count("store.file_lost")
        await service.kill()
        await service.start()
        stored = [job["id"] for job in (await service.get("/v1/jobs"))["data"]]
        await service.post("/v1/jobs", JOB_REQUEST)

    assert (refused.status_code, callback, lines) == (503, 503, 1)
    assert probe.json()["store"].startswith("belfry.db-wal was deleted or replaced")
    assert stored[::-1] == [job["id"] for job in jobs]


async def test_a_deleted_database_is_reported_until_it_is_put_back(
    sqlite_url: str, tmp_path: Path
) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    async with a_process(sqlite_url, tmp_path) as service:
        job = await service.post("/v1/jobs", JOB_REQUEST)
        url = await callback_url(service, job["id"])
        link(path, f"{path}.copy")

        delete(path)
        refused = await service.http.post("/v1/jobs", json=JOB_REQUEST)
        callback = await call_back(url)
        probe = await service.unready()
        lines = service.log.read_text().count("store.file_lost")
        link(f"{path}.copy", path)
        await eventually(lambda: is_ready(service))
        again = await call_back(url)

    assert (refused.status_code, callback, lines, again) == (503, 503, 1, 204)
    assert probe.json()["store"].startswith("belfry.db was deleted or replaced")


async def test_the_target_of_a_linked_database_is_watched(sqlite_url: str, tmp_path: Path) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    link = tmp_path / "link.db"
    link.symlink_to(path)
    store = await open_store(f"sqlite:///{link}", T0)

    await store.check()
    delete(f"{path}-wal")
    with pytest.raises(Unavailable, match=r"belfry\.db-wal was deleted"):
        await store.check()
    await store.close()


@pytest.mark.parametrize("moment", FAILING_CALLS)
async def test_a_disk_error_ends_the_process_and_no_acknowledged_write_is_lost(
    moment: str, sqlite_url: str, tmp_path: Path, disk: Disk, receiver: Receiver
) -> None:
    receiver.otherwise = json_answer(412, {"error": "You do not have enough credits"})
    env = {**disk.environment, **providers_at(receiver.url.removesuffix(receiver.path))}
    receiver.path = ""
    async with a_process(sqlite_url, tmp_path, **env) as service:
        batches = [await service.post("/v1/jobs", [JOB_REQUEST] * 100) for _ in range(4)]
        ids = [job["id"] for batch in batches for job in batch["data"]]
        callback = await callback_url(service, ids[-1])
        await eventually(lambda: is_paused(service))  # only the callback is written
        await service.terminate()
        await service.start()  # to empty the cache

        disk.fail(errno.EIO, FAILING_CALLS[moment])
        refused = await call_back(callback)
        code = await service.wait()
        log = service.log.read_text()
        disk.repair()
        await service.start()
        stored = [await service.job(job) for job in ids[::50]]
        again = await call_back(callback)

    assert (refused, code, again) == (503, 1, 204)
    assert len(stored) == 8
    failed = log.count("malformed") + log.count("disk I/O error")  # SQLite's messages for EIO
    assert failed <= 1, "no statement runs after a disk error"
