"""Every catalogued operation with callbacks runs from submit to its end against the sandbox."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.providers.runware.catalog import ROWS as RUNWARE
from service.providers.useapi.provider import UseApi
from service.providers.useapi.runway_endpoints import ROWS as RUNWAY
from service.sandbox import EXAMPLE_ASSET
from tests.support.databases import sqlite_file
from tests.support.service_harness import Json, SandboxedService, plain_client, sandboxed_service

pytestmark = pytest.mark.anyio

USEAPI = UseApi()
PATHS = ["frames/create", "videos/create", *(path for path, *_ in RUNWAY)]
TYPES = ["imageCaption", *(name for name, _, _ in RUNWARE)]
KINDS = {
    "videoInference": "video",
    "audioInference": "audio",
    "3dInference": "model",
    **dict.fromkeys(("imageCaption", "caption", "promptEnhance", "textInference"), "text"),
    "training": "data",
    "modelUpload": "data",
}
EVERYTHING = {
    "positivePrompt": "x",
    "prompt": "x",
    "model": "runware:150@2",
    "inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87",
    "includeCost": True,
}


@pytest.fixture(scope="module")
async def shared_bench(anyio_backend: object) -> AsyncIterator[SandboxedService]:
    """One service for all tests of this file, whose jobs are independent of each other."""
    assert anyio_backend
    with sqlite_file() as url:
        async with sandboxed_service(url, USEAPI_MAX_JOBS="100") as sandboxed:
            yield sandboxed


def runway_input(operation: str) -> Json:
    """Fill the required fields of an operation of useapi.net."""
    required = (field for field in USEAPI.operations[operation].inputs if field.required)
    values: dict[str, Any] = {"string": "x", "number": 1, "integer": 9}
    given = {
        field.name: EXAMPLE_ASSET if "assetid" in field.name.lower() else values[field.kind]
        for field in required
    }
    return given | {"image_url": "https://example.com/1.png", "language": "en", "maxJobs": 10}


async def run_jobs(
    sandboxed: SandboxedService, provider: str, inputs: dict[str, Json]
) -> list[Json]:
    """Submit a job for each operation of *inputs* in one array; wait until all have ended."""
    requests = [
        {"provider": provider, "operation": name, "input": given} for name, given in inputs.items()
    ]
    jobs = (await sandboxed.post("/v1/jobs", requests))["data"]
    return list(await asyncio.gather(*(sandboxed.ended(job["id"]) for job in jobs)))


def kind_of(job: Json) -> str:
    """Return the kind of the job's output: of its artifacts, else `text` or `data`."""
    output = job["output"]
    if output["artifacts"]:
        return str(output["artifacts"][0]["kind"])
    return "text" if output["text"] else "data"


async def test_every_useapi_endpoint_with_callbacks_ends_successfully(
    shared_bench: SandboxedService,
) -> None:
    names = [path.replace("/", ".") for path in PATHS]

    ended = await run_jobs(shared_bench, "useapi", {name: runway_input(name) for name in names})
    requests = (await shared_bench.ledger())["requests"]

    assert {job["operation"]: job["status"] for job in ended} == dict.fromkeys(names, "succeeded")
    assert {job["operation"]: kind_of(job) for job in ended} == {
        name: "image" if name.startswith(("frames", "images")) else "video" for name in names
    }
    assert {job["progress"]["ratio"] for job in ended} == {1.0}
    assert [requests[f"POST /v1/runwayml/{path}"] for path in PATHS] == [1] * len(PATHS)


async def test_every_useapi_operation_without_callbacks_ends_at_once(
    shared_bench: SandboxedService,
) -> None:
    names = [name for name, each in USEAPI.operations.items() if each.answers_immediately]

    ended = await run_jobs(shared_bench, "useapi", {name: runway_input(name) for name in names})

    assert {job["operation"]: (job["status"], kind_of(job)) for job in ended} == {
        "frames.describe": ("succeeded", "text"),
        "features": ("succeeded", "data"),
        "lipsync.voices": ("succeeded", "data"),
        "transcribe": ("succeeded", "text"),
        "image_upscaler": ("succeeded", "image"),
        "text_to_image_preview": ("succeeded", "image"),
    }


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
async def test_the_sandbox_serves_the_documented_endpoints(
    path: str, given: Json, status: int, shared_bench: SandboxedService
) -> None:
    url = f"{shared_bench.sandbox}/v1/runwayml/{path}"
    headers = {"authorization": "Bearer user:1-sandbox"}

    async with plain_client() as client:
        response = await client.post(url, json=given, headers=headers)

    assert response.status_code == status


async def test_every_runware_task_type_ends_successfully(shared_bench: SandboxedService) -> None:
    ended = await run_jobs(shared_bench, "runware", dict.fromkeys(TYPES, EVERYTHING))

    assert {job["operation"]: job["status"] for job in ended} == dict.fromkeys(TYPES, "succeeded")
    assert {job["operation"]: kind_of(job) for job in ended} == {
        name: KINDS.get(name, "image") for name in TYPES
    }
    assert all(job["cost_usd"] > 0 for job in ended if job["operation"] != "modelUpload")


async def test_an_unknown_task_type_fails_with_the_error_of_the_provider(
    shared_bench: SandboxedService,
) -> None:
    (job,) = await run_jobs(shared_bench, "runware", {"aTypeOfTomorrow": EVERYTHING})

    assert job["status"] == "failed"
    assert job["error"]["provider_code"] == "unsupportedTaskType"
    assert job["error"]["code"] == "invalid_input"


async def test_an_image_is_uploaded_and_then_described(shared_bench: SandboxedService) -> None:
    given = {"image": "data:image/png;base64,iVBORw0KGgo="}
    (upload,) = await run_jobs(shared_bench, "runware", {"imageUpload": given})
    (image,) = upload["output"]["artifacts"]
    caption = {**EVERYTHING, "inputImage": image["id"]}

    (described,) = await run_jobs(shared_bench, "runware", {"imageCaption": caption})

    assert (upload["status"], image["kind"]) == ("succeeded", "image")
    assert (described["status"], bool(described["output"]["text"])) == ("succeeded", True)


async def test_a_model_search_is_answered_at_once(shared_bench: SandboxedService) -> None:
    (job,) = await run_jobs(shared_bench, "runware", {"modelSearch": {"search": "llava"}})

    assert job["status"] == "succeeded"
    assert job["output"]["data"] == {
        "results": [{"air": "runware:150@2", "name": "LLaVA-1.6-Mistral-7B"}],
        "totalResults": 1,
    }


async def test_stored_media_can_be_deleted(shared_bench: SandboxedService) -> None:
    upload = {"operation": "upload", "media": "https://example.com/1.jpg"}
    (stored,) = await run_jobs(shared_bench, "runware", {"mediaStorage": upload})
    (file,) = stored["output"]["artifacts"]

    deletion = {"operation": "delete", "mediaUUID": file["id"]}
    (deleted,) = await run_jobs(shared_bench, "runware", {"mediaStorage": deletion})

    assert [job["status"] for job in (stored, deleted)] == ["succeeded"] * 2


@pytest.mark.parametrize("prompt", ["[at-once]", "[at-once] [lost]", "[at-once] [part-fail]"])
async def test_results_in_the_response_and_in_callbacks_count_once(
    prompt: str, shared_bench: SandboxedService
) -> None:
    given = {**EVERYTHING, "positivePrompt": prompt, "numberResults": 3}

    (job,) = await run_jobs(shared_bench, "runware", {"imageInference": given})

    results = job["output"]["artifacts"] + job["output"]["errors"]
    assert (job["status"], len(results)) == ("succeeded", 3)
    tasks = (await shared_bench.ledger())["tasks"]
    assert [task["paid"] for task in tasks if task["ref"] == job["ref"]] == [True]


async def test_the_job_cost_is_the_sum_over_its_results(shared_bench: SandboxedService) -> None:
    (job,) = await run_jobs(
        shared_bench, "runware", {"imageInference": {**EVERYTHING, "numberResults": 3}}
    )

    assert len(job["output"]["artifacts"]) == 3
    assert job["cost_usd"] == pytest.approx(3 * 0.0013)


async def test_the_cost_is_unknown_without_include_cost(shared_bench: SandboxedService) -> None:
    (job,) = await run_jobs(
        shared_bench, "runware", {"caption": {**EVERYTHING, "includeCost": False}}
    )

    assert job["cost_usd"] is None


async def test_a_video_reports_its_progress(shared_bench: SandboxedService) -> None:
    (job,) = await run_jobs(shared_bench, "runware", {"videoInference": EVERYTHING})
    events = (await shared_bench.get(f"/v1/jobs/{job['id']}/events"))["data"]

    ratios = [event["data"]["progress"]["ratio"] for event in reversed(events)]
    assert [ratio for ratio in ratios if ratio] == [0.25, 0.5, 0.75, 1.0]
