"""Every listed operation that calls back walks from submit to its end, against the sandbox."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.providers.runware.catalog import ROWS as RUNWARE
from service.providers.useapi.runway_endpoints import ROWS as RUNWAY
from tests.support.databases import sqlite_file
from tests.support.service_harness import Json, SandboxedService, plain_client, sandboxed_service

pytestmark = pytest.mark.anyio

PATHS = ["frames/create", *(path for path, _, _ in RUNWAY)]
TYPES = ["imageCaption", *(name for name, _, _ in RUNWARE), "aTypeOfTomorrow"]
KINDS = {
    "videoInference": "video",
    "audioInference": "audio",
    "3dInference": "model",
    **dict.fromkeys(("imageCaption", "caption", "promptEnhance", "textInference"), "text"),
    "training": "data",
}
EVERYTHING = {
    "positivePrompt": "x",
    "prompt": "x",
    "model": "runware:150@2",
    "inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87",
    "includeCost": True,
}


@pytest.fixture(scope="module")
async def shared_sandboxed(anyio_backend: object) -> AsyncIterator[SandboxedService]:
    """One service for all walks: they do not disturb each other."""
    assert anyio_backend
    with sqlite_file() as url:
        async with sandboxed_service(url, USEAPI_MAX_JOBS="100") as sandboxed:
            yield sandboxed


async def walked(
    sandboxed: SandboxedService, provider: str, operations: list[str], given: Json
) -> list[Json]:
    """Submit a job of each operation in one array and wait for all ends."""
    orders = [{"provider": provider, "operation": name, "input": given} for name in operations]
    jobs = (await sandboxed.post("/v1/jobs", orders))["data"]
    return list(await asyncio.gather(*(sandboxed.ended(job["id"]) for job in jobs)))


def kind_of(job: Json) -> str:
    """Name what the job made; `text` for words, `data` for a structure."""
    output = job["output"]
    if output["artifacts"]:
        return str(output["artifacts"][0]["kind"])
    return "text" if output["text"] else "data"


async def test_every_endpoint_of_useapi_that_calls_back_walks(
    shared_sandboxed: SandboxedService,
) -> None:
    names = [path.replace("/", ".") for path in PATHS]

    ended = await walked(shared_sandboxed, "useapi", names, {"text_prompt": "x", "maxJobs": 10})
    requests = (await shared_sandboxed.ledger())["requests"]

    assert {job["operation"]: job["status"] for job in ended} == dict.fromkeys(names, "succeeded")
    assert {job["operation"]: kind_of(job) for job in ended} == {
        name: "image" if name.startswith(("frames", "images")) else "video" for name in names
    }
    assert {job["progress"]["ratio"] for job in ended} == {1.0}
    assert [requests[f"POST /v1/runwayml/{path}"] for path in PATHS] == [1] * len(PATHS)


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("gen4/create", {"maxJobs": 11}, 400),
        ("gen4/create", {"replyUrl": "nowhere"}, 400),
        ("gen4/create", {"replyRef": "x" * 1025}, 400),
        ("gen3turbo/create", {"aspect_ratio": "portrait", "text_prompt": None}, 200),
        ("gen9/create", {}, 404),
    ],
)
async def test_the_sandbox_serves_what_the_vendor_documents(
    path: str, given: Json, status: int, shared_sandboxed: SandboxedService
) -> None:
    url = f"{shared_sandboxed.sandbox}/v1/runwayml/{path}"
    headers = {"authorization": "Bearer user:1-sandbox"}

    async with plain_client() as client:
        answer = await client.post(url, json=given, headers=headers)

    assert answer.status_code == status


async def test_every_task_type_of_runware_walks(shared_sandboxed: SandboxedService) -> None:
    ended = await walked(shared_sandboxed, "runware", TYPES, EVERYTHING)

    assert {job["operation"]: job["status"] for job in ended} == dict.fromkeys(TYPES, "succeeded")
    assert {job["operation"]: kind_of(job) for job in ended} == {
        name: KINDS.get(name, "image") for name in TYPES
    }
    assert all(job["cost_usd"] > 0 for job in ended)


async def test_the_cost_of_several_results_adds_up(shared_sandboxed: SandboxedService) -> None:
    (job,) = await walked(
        shared_sandboxed, "runware", ["imageInference"], {**EVERYTHING, "numberResults": 3}
    )

    assert len(job["output"]["artifacts"]) == 3
    assert job["cost_usd"] == pytest.approx(3 * 0.0013)


async def test_a_cost_that_was_not_asked_for_is_not_known(
    shared_sandboxed: SandboxedService,
) -> None:
    (job,) = await walked(
        shared_sandboxed, "runware", ["caption"], {**EVERYTHING, "includeCost": False}
    )

    assert job["cost_usd"] is None


async def test_a_video_tells_how_far_it_is(shared_sandboxed: SandboxedService) -> None:
    (job,) = await walked(shared_sandboxed, "runware", ["videoInference"], EVERYTHING)
    events = (await shared_sandboxed.get(f"/v1/jobs/{job['id']}/events"))["data"]

    told = [event["data"]["progress"]["ratio"] for event in reversed(events)]
    assert [ratio for ratio in told if ratio] == [0.25, 0.5, 0.75, 1.0]
