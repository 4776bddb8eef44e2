"""Every operation that calls back walks from submit to its end, against the sandbox."""

import asyncio

import pytest

from service.providers.runware_types import ROWS as RUNWARE
from service.providers.useapi import UseApi
from service.providers.useapi_runway import ROWS as RUNWAY
from tests.running import bench_of

pytestmark = pytest.mark.anyio

EVERYTHING = {
    "positivePrompt": "x",
    "prompt": "x",
    "text": "x",
    "model": "runware:150@2",
    "inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87",
    "width": 512,
    "height": 512,
    "upscaleFactor": 2,
    "duration": 3,
    "messages": [{"role": "user", "content": "x"}],
}
VIDEOS = [path for path, _, _ in RUNWAY if path != "images/create"]


async def test_every_endpoint_of_useapi_that_calls_back_walks(sqlite_url: str) -> None:
    names = [path.replace("/", ".") for path, _, _ in RUNWAY]
    async with bench_of(sqlite_url, USEAPI_MAX_JOBS="100") as bench:
        jobs = [
            await bench.submit("useapi", name, {"text_prompt": "x", "maxJobs": 10})
            for name in names
        ]
        ended = await asyncio.gather(*(bench.ended(job["id"]) for job in jobs))
        requests = (await bench.ledger())["requests"]

    assert {job["operation"]: job["status"] for job in ended} == dict.fromkeys(names, "succeeded")
    kinds = {job["operation"]: job["output"]["artifacts"][0]["kind"] for job in ended}
    assert kinds.pop("images.create") == "image"
    assert set(kinds.values()) == {"video"}
    assert all(f"POST /v1/runwayml/{path}" in requests for path in VIDEOS)


async def test_every_task_type_of_runware_walks(sqlite_url: str) -> None:
    orders = [
        {"provider": "runware", "operation": name, "input": EVERYTHING}
        for name, _, _ in RUNWARE
    ]
    async with bench_of(sqlite_url) as bench:
        listed = await bench.post("/v1/jobs", orders)
        ended = await asyncio.gather(*(bench.ended(job["id"]) for job in listed["data"]))

    assert {job["operation"]: job["status"] for job in ended} == {
        name: "succeeded" for name, _, _ in RUNWARE
    }


@pytest.mark.parametrize(("path", "seconds"), [row[:2] for row in RUNWAY])
def test_a_row_is_an_operation(path: str, seconds: int) -> None:
    operation = UseApi().operation(path.replace("/", "."))

    assert operation is not None
    assert (operation.at_once, operation.deadline_seconds) == (False, seconds)
    assert {"replyUrl", "replyRef", "maxJobs"} <= {one.name for one in operation.inputs}
