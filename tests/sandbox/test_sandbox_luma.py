"""The emulated Luma, alone and with the service: every operation, the status 200, errors."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.test_sandbox import World, a_ref, sandbox_world
from tests.support.databases import sqlite_file
from tests.support.service_harness import (
    Json,
    SandboxedService,
    plain_client,
    sandboxed_service,
)

pytestmark = pytest.mark.anyio

V1 = "/dream-machine/v1"
MEDIA = {"url": "https://example.com/a.mp4"}
INPUTS: dict[str, Json] = {
    "generations.video": {"prompt": "a bell", "model": "ray-2"},
    "generations.image": {"prompt": "a bell", "model": "photon-1"},
    "generations.video.modify": {"media": MEDIA, "model": "ray-2", "mode": "flex_1"},
    "generations.video.reframe": {"media": MEDIA, "model": "ray-2", "aspect_ratio": "9:16"},
    "generations.image.reframe": {"media": MEDIA, "model": "photon-1", "aspect_ratio": "9:16"},
}


@pytest.fixture(scope="module")
async def world(anyio_backend: object) -> AsyncIterator[World]:
    assert anyio_backend
    async with sandbox_world("luma-sandbox") as client:
        yield client


@pytest.fixture(scope="module")
async def bench(anyio_backend: object) -> AsyncIterator[SandboxedService]:
    """One service for all tests of this file, whose jobs are independent of each other."""
    assert anyio_backend
    with sqlite_file() as url:
        async with sandboxed_service(url) as sandboxed:
            yield sandboxed


async def run(bench: SandboxedService, operation: str, given: Json) -> Json:
    """Submit a job and wait for its end."""
    job = await bench.submit("luma", operation, given)
    return await bench.ended(job["id"])


async def run_video(bench: SandboxedService, prompt: str) -> Json:
    return await run(bench, "generations.video", {"prompt": prompt, "model": "ray-2"})


async def create(world: World, ref: str, path: str = "/generations/video") -> Json:
    body = {"prompt": ref, "model": "ray-2", "callback_url": world.inbox.address(ref)}
    response = await world.post(V1 + path, json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


@pytest.mark.parametrize("path", ["/generations", "/generations/video"])
async def test_every_change_of_a_generation_is_reported(path: str, world: World) -> None:
    ref = a_ref()
    world.inbox.answers[ref] = [200] * 3
    answer = await create(world, ref, path)

    callbacks = await world.inbox.wait(ref, 3)
    shown = (await world.get(f"{V1}/generations/{answer['id']}")).json()
    listed = (await world.get(f"{V1}/generations")).json()["generations"]

    assert [one["state"] for one in callbacks] == ["queued", "dreaming", "completed"]
    assert callbacks[-1] == shown
    assert answer["id"] in {one["id"] for one in listed}


async def test_a_callback_that_is_not_answered_200_is_sent_four_times(world: World) -> None:
    ref = a_ref()
    world.inbox.answers[ref] = [204, 204, 200, *[204] * 4, 204, 200]
    await create(world, ref)

    callbacks = await world.inbox.wait(ref, 9)

    states = [one["state"] for one in callbacks]
    assert states == [*["queued"] * 3, *["dreaming"] * 4, *["completed"] * 2]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/generations/video", {"model": "ray-2"}, 400),
        ("/generations/video", {"prompt": "ab", "model": "ray-2"}, 400),
        ("/generations/video", {"prompt": "a" * 5001, "model": "ray-2"}, 400),
        ("/generations/video", {"prompt": "a bell"}, 400),
        ("/generations/image", {"prompt": "a bell", "model": "x", "aspect_ratio": "2:1"}, 400),
        ("/generations/image", {"prompt": "a bell", "model": "x", "callback_url": "y"}, 400),
        ("/generations/video", [], 400),
        ("/generations/nothing/upscale", {}, 404),
        ("/generations/video", {"prompt": "[402]", "model": "ray-2"}, 402),
        ("/generations/video", {"prompt": "[503]", "model": "ray-2"}, 503),
    ],
)
async def test_a_request_is_checked_as_documented(
    path: str, body: Any, status: int, world: World
) -> None:
    response = await world.post(V1 + path, json=body)

    assert response.status_code == status
    assert response.json()["detail"]


async def test_the_credits_need_the_key(world: World) -> None:
    assert (await world.get(f"{V1}/credits")).json()["credit_balance"] > 0
    assert (await world.get(f"{V1}/ping")).json() == {"message": "pong"}
    assert (await world.get(f"{V1}/generations/nothing")).status_code == 404
    async with plain_client(world.url) as stranger:
        refused = await stranger.get(f"{V1}/credits")
    assert (refused.status_code, refused.json()["detail"]) == (401, "Invalid API key is provided")


@pytest.mark.parametrize("operation", list(INPUTS))
async def test_every_operation_ends_with_a_file(operation: str, bench: SandboxedService) -> None:
    job = await run(bench, operation, INPUTS[operation])

    (artifact,) = job["output"]["artifacts"]
    assert job["status"] == "succeeded"
    assert artifact["kind"] == ("image" if "image" in operation else "video")
    async with plain_client() as client:
        for url in (artifact["url"], *artifact["preview_urls"]):
            assert (await client.get(url)).status_code == 200


async def test_a_generated_video_can_be_upscaled_and_get_sound(bench: SandboxedService) -> None:
    video = await run_video(bench, "a bell")
    source = video["provider_task_id"]

    upscaled = await run(bench, "generations.upscale", {"id": source, "resolution": "4k"})
    sounding = await run(bench, "generations.audio", {"id": source, "prompt": "a bell"})

    for job in (upscaled, sounding):
        assert job["output"]["artifacts"][0]["kind"] == "video"
        assert job["provider_task_id"] != source


async def test_our_signature_in_the_echoed_request_is_not_shown(bench: SandboxedService) -> None:
    ended = await run_video(bench, "a bell")

    raw = (await bench.get(f"/v1/jobs/{ended['id']}", expand="raw"))["raw"]

    assert raw["request"]["callback_url"].endswith(f"/callbacks/luma/{ended['ref']}?[redacted]")


async def test_each_callback_is_sent_once_because_it_is_answered_200(
    bench: SandboxedService,
) -> None:
    prompt = a_ref()
    await run_video(bench, prompt)

    (task,) = [one for one in (await bench.ledger())["tasks"] if one["prompt"] == prompt]

    assert [one["status_code"] for one in task["callbacks"]] == [200] * 3


@pytest.mark.parametrize(
    ("prompt", "code"),
    [("[fail]", "provider_error"), ("[moderated]", "moderated"), ("[empty]", "no_output")],
)
async def test_a_job_fails_as_its_generation_does(
    prompt: str, code: str, bench: SandboxedService
) -> None:
    job = await run_video(bench, prompt)

    assert (job["status"], job["error"]["code"]) == ("failed", code)


@pytest.mark.parametrize(
    "prompt", ["[early]", "[dup 3]", "[shuffle]", "[forged]", "[429 1 after 0]"]
)
async def test_a_job_succeeds_whatever_happens_to_its_callbacks(
    prompt: str, bench: SandboxedService
) -> None:
    job = await run_video(bench, f"a bell {prompt}")

    (artifact,) = job["output"]["artifacts"]
    assert job["status"] == "succeeded"
    assert "forged" not in artifact["url"]


async def test_a_completed_generation_without_its_file_is_read_exactly_once(
    sqlite_url: str,
) -> None:
    async with sandboxed_service(sqlite_url) as alone:
        await run_video(alone, "a bell")
        before = (await alone.ledger())["requests"]
        await run_video(alone, "[empty]")
        after = (await alone.ledger())["requests"]

    lookups = f"GET {V1}/generations/{{id}}"
    assert (before.get(lookups, 0), after.get(lookups, 0)) == (0, 1)
