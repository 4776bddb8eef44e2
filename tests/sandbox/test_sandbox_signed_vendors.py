"""The sandbox's fal and Ideogram: signed callbacks, lookups, errors; and jobs from end to end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.databases import sqlite_file
from tests.support.service_harness import (
    Json,
    SandboxedService,
    eventually,
    plain_client,
    sandboxed_service,
)

pytestmark = pytest.mark.anyio

FLUX = "fal-ai/flux/dev"
GENERATE = "/ideogram/v1/ideogram-v4/async/generate"


@pytest.fixture(scope="module")
async def bench(anyio_backend: object) -> AsyncIterator[SandboxedService]:
    """One service for all tests of this file, whose jobs are independent of each other."""
    assert anyio_backend
    with sqlite_file() as url:
        async with sandboxed_service(url, IDEOGRAM_MAX_JOBS="100") as sandboxed:
            yield sandboxed


@pytest.fixture
async def fal(bench: SandboxedService) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_client(f"{bench.sandbox}/fal", authorization="Key sandbox") as client:
        yield client


@pytest.fixture
async def ideogram(bench: SandboxedService) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_client(f"{bench.sandbox}", **{"api-key": "sandbox"}) as client:
        yield client


async def run(bench: SandboxedService, provider: str, operation: str, given: Json) -> Json:
    job = await bench.submit(provider, operation, given)
    return await bench.ended(job["id"])


async def entry_of(bench: SandboxedService, job: Json) -> Json:
    """The ledger's entry of a job, once its last callback has been answered."""

    async def look() -> Json | None:
        tasks = (await bench.ledger())["tasks"]
        (entry,) = [task for task in tasks if task["task"] == job["provider_task_id"]]
        ended = entry["callbacks"] and entry["callbacks"][-1]["status_code"] == 204
        return dict(entry) if ended else None

    return dict(await eventually(look))


async def assert_files_exist(job: Json) -> None:
    async with plain_client() as client:
        for one in job["output"]["artifacts"]:
            response = await client.get(one["url"])
            assert (response.status_code, response.headers["content-type"]) == (
                200,
                one["media_type"],
            )


@pytest.mark.parametrize(
    ("model", "given", "kinds"),
    [
        (FLUX, {"prompt": "a cat", "num_images": 2}, ["image", "image"]),
        ("fal-ai/veo3", {"prompt": "a cat"}, ["video"]),
        ("fal-ai/kling-video/v2.5-turbo/pro/text-to-video", {"prompt": "a cat"}, ["video"]),
        ("fal-ai/trellis", {"image_url": "https://a.example/b.png"}, ["model"]),
        ("somebody/music-model", {"prompt": "a cat"}, ["audio"]),
        ("fal-ai/whisper", {"audio_url": "https://a.example/b.mp3"}, []),
    ],
)
async def test_a_job_at_any_model_of_fal_ends_with_its_files(
    model: str, given: Json, kinds: list[str], bench: SandboxedService
) -> None:
    job = await run(bench, "fal", model, given)

    assert (job["status"], job["provider_status"]) == ("succeeded", "OK")
    assert [one["kind"] for one in job["output"]["artifacts"]] == kinds
    assert kinds or job["output"]["text"]
    assert {one["seed"] for one in job["output"]["artifacts"]} <= {196619188014358660}
    await assert_files_exist(job)


@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [
        ("[moderated]", "failed", "moderated"),
        ("[fail]", "failed", "provider_error"),
        ("[empty]", "failed", "no_output"),
        ("[no-payload]", "succeeded", None),
        ("[forged]", "succeeded", None),
        ("[early]", "succeeded", None),
        ("[dup 3]", "succeeded", None),
        ("[shuffle]", "succeeded", None),
        ("[429 1 after 1]", "succeeded", None),
        ("[422]", "failed", "invalid_input"),
    ],
)
async def test_a_job_at_fal_ends_as_its_prompt_demands(
    directive: str, status: str, code: str | None, bench: SandboxedService
) -> None:
    job = await run(bench, "fal", FLUX, {"prompt": f"a cat {directive}"})

    assert (job["status"], job["error"] and job["error"]["code"]) == (status, code)


async def test_an_empty_input_is_refused_by_the_model(bench: SandboxedService) -> None:
    job = await run(bench, "fal", "fal-ai/fast-sdxl", {})

    assert job["error"]["code"] == "invalid_input"
    assert job["error"]["message"] == "prompt: field required"


async def test_a_payload_that_was_not_sent_is_looked_up_once(bench: SandboxedService) -> None:
    before = (await bench.ledger())["requests"]

    job = await run(bench, "fal", "somebody/looked-up", {"prompt": "[no-payload] once"})
    after = (await bench.ledger())["requests"]

    reads = {name: after[name] - before.get(name, 0) for name in after if "requests/" in name}
    assert reads["GET /fal/{app:path}/requests/{task_id}/status"] == 1
    assert reads["GET /fal/{app:path}/requests/{task_id}"] == 1
    assert len(job["output"]["artifacts"]) == 1


@pytest.mark.parametrize(
    ("provider", "operation", "given"),
    [
        ("fal", FLUX, {"prompt": "a dog [forged]"}),
        ("ideogram", "v4.generate", {"text_prompt": "a dog [forged]"}),
    ],
)
async def test_a_forged_callback_is_refused_and_not_stored(
    provider: str, operation: str, given: Json, bench: SandboxedService
) -> None:
    job = await run(bench, provider, operation, given)
    entry = await entry_of(bench, job)
    stored = (await bench.get("/v1/callbacks", job=job["id"]))["data"]

    assert [(one["kind"], one["status_code"]) for one in entry["callbacks"]] == [
        ("forged", 404),
        ("end", 204),
    ]
    assert [one["verdict"] for one in stored] == ["accepted"]


async def test_a_lost_callback_of_fal_leaves_a_request_that_can_be_read(
    fal: httpx.AsyncClient,
) -> None:
    answer = (await fal.post(f"/{FLUX}", json={"prompt": "[lost] [slow 10]"})).json()
    path = f"/fal-ai/flux/requests/{answer['request_id']}"

    assert answer["status"] == "IN_QUEUE"
    assert (await fal.get(path)).status_code == 400
    assert (await fal.get(f"{path}/status")).status_code == 202

    async def completed() -> bool:
        return bool((await fal.get(f"{path}/status")).status_code == 200)

    await eventually(completed)
    assert (await fal.get(path)).json()["seed"] == 196619188014358660
    assert (await fal.get(path.replace("flux", "veo3"))).status_code == 404


async def test_a_failed_request_of_fal_is_read_with_its_status(fal: httpx.AsyncClient) -> None:
    answers = [
        (await fal.post(f"/{FLUX}", json={"prompt": word})).json()
        for word in ("[moderated]", "[fail]", "[gone]")
    ]
    paths = [f"/fal-ai/flux/requests/{answer['request_id']}" for answer in answers]

    async def ended() -> bool:
        statuses = [(await fal.get(f"{path}/status")).status_code for path in paths]
        return statuses == [200, 200, 404]

    await eventually(ended)
    assert [(await fal.get(path)).status_code for path in paths] == [422, 500, 404]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/{FLUX}", "[]", 400),
        (f"/{FLUX}", "no", 400),
        (f"/{FLUX}?fal_webhook=nowhere", "{}", 400),
        (f"/{FLUX}", '{"prompt": "[403]"}', 403),
    ],
)
async def test_fal_refuses_what_it_cannot_read(
    path: str, body: str, status: int, fal: httpx.AsyncClient
) -> None:
    answer = await fal.post(path, content=body)

    assert answer.status_code == status
    assert answer.json()["detail"]


async def test_both_refuse_another_credential(bench: SandboxedService) -> None:
    async with plain_client(bench.sandbox, authorization="Bearer sandbox") as client:
        refused = [
            await client.post(f"/fal/{FLUX}", json={"prompt": "x"}),
            await client.post(GENERATE, files={"text_prompt": (None, "x")}),
            await client.get("/ideogram/models"),
        ]
        keys = [
            await client.get("/fal/.well-known/jwks.json"),
            await client.get("/ideogram/v1/.well-known/jwks.json"),
        ]

    assert [answer.status_code for answer in refused] == [401] * 3
    sets = [answer.json()["keys"] for answer in keys]
    assert [(key["kty"], key["crv"]) for (key,) in sets] == [("OKP", "Ed25519")] * 2
    assert sets[0][0]["x"] != sets[1][0]["x"]


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("v4.generate", {"text_prompt": "a cat", "resolution": "1440x2880"}),
        ("v4.generate-transparent", {"json_prompt": {"high_level_description": "a cat"}}),
        ("p-image.generate", {"prompt": "a cat"}),
    ],
)
async def test_a_job_at_ideogram_ends_with_its_images(
    operation: str, given: Json, bench: SandboxedService
) -> None:
    job = await run(bench, "ideogram", operation, given)

    (image,) = job["output"]["artifacts"]
    size = given.get("resolution", "2048x2048")
    assert job["status"] == "succeeded"
    assert f"{image['width']}x{image['height']}" == size
    assert (image["seed"], image["nsfw"]) == (12345, False)
    assert image["expires_at"] > job["finished_at"]
    await assert_files_exist(job)


@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [
        ("[moderated]", "failed", "moderated"),
        ("[fail]", "failed", "provider_error"),
        ("[empty]", "failed", "no_output"),
        ("[part-fail]", "succeeded", None),
        ("[early]", "succeeded", None),
        ("[dup 2]", "succeeded", None),
        ("[503 1 after 1]", "succeeded", None),
        ("[422]", "failed", "moderated"),
    ],
)
async def test_a_job_at_ideogram_ends_as_its_prompt_demands(
    directive: str, status: str, code: str | None, bench: SandboxedService
) -> None:
    job = await run(bench, "ideogram", "v4.generate", {"text_prompt": f"a cat {directive}"})

    assert (job["status"], job["error"] and job["error"]["code"]) == (status, code)
    if directive == "[part-fail]":
        assert [error["code"] for error in job["output"]["errors"]] == ["moderated"]


async def test_a_generation_can_be_read(ideogram: httpx.AsyncClient) -> None:
    answers = [
        (await ideogram.post(GENERATE, files={"text_prompt": (None, word)})).json()
        for word in ("[lost]", "[gone]")
    ]
    found, gone = (f"/ideogram/v1/generations/{one['generation_id']}" for one in answers)

    async def completed() -> Any:
        body = (await ideogram.get(found)).json()
        return body if body["status"] == "completed" else None

    assert (await eventually(completed))["usage_cost_usd_micros"] == 60_000
    assert (await ideogram.get(gone)).status_code == 404
    assert (await ideogram.get("/ideogram/models")).json() == {"models": []}


@pytest.mark.parametrize(
    ("query", "files"),
    [
        ("", {}),
        ("", {"text_prompt": (None, "x"), "json_prompt": (None, "{}")}),
        ("?webhook_url=nowhere", {"text_prompt": (None, "x")}),
    ],
)
async def test_ideogram_refuses_what_it_cannot_use(
    query: str, files: Any, ideogram: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(
        ideogram.post(GENERATE + query, files=files),
        ideogram.post(GENERATE, json={"text_prompt": "x"}),
    )

    assert [answer.status_code for answer in answers] == [400, 400]
