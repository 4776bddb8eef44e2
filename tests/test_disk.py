"""The disk fails under a real process: nothing acknowledged is lost, and everybody is told."""

import errno
from pathlib import Path

import pytest

from tests.disk_faults import Disk
from tests.running import ServiceProcess, a_process, eventually
from tests.test_crash import call_back

pytestmark = pytest.mark.anyio
ORDER = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
WRITES = ("write", "pwrite", "ftruncate")


async def is_ready(service: ServiceProcess) -> bool:
    return (await service.http.get("/readyz")).status_code == 200


async def test_a_full_disk_is_told_and_all_is_well_once_there_is_room(
    sqlite_url: str, tmp_path: Path, disk: Disk
) -> None:
    async with a_process(sqlite_url, tmp_path, **disk.environment) as service:
        job = await service.post("/v1/jobs", ORDER)

        disk.fail(errno.ENOSPC, *WRITES)
        probe = await service.unready()
        submit = await service.http.post("/v1/jobs", json=ORDER)
        callback = await call_back(service, job["id"])
        read = await service.job(job["id"])
        disk.work()
        await eventually(lambda: is_ready(service))
        again = await call_back(service, job["id"])
        await service.post("/v1/jobs", ORDER)

    assert "full" in probe.json()["store"]
    assert (submit.status_code, callback, again) == (503, 503, 204)
    assert int(submit.headers["retry-after"]) >= 1
    assert read["id"] == job["id"]
