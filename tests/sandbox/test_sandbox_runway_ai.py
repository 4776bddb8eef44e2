"""The emulated runway-ai.ai: fifteen endpoints that answer when the task has ended."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.sandbox.providers.runway_ai.endpoints import ENDPOINTS
from tests.sandbox.test_sandbox import World, a_ref, sandbox_world

IMAGE = {"image_url": "https://example.com/a.jpg"}
VIDEO = {"video_url": "https://example.com/a.mp4"}
CALLS: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("POST", "generate-image", {"prompt": "a bell", "style": "sketch"}, {"image_url"}),
    ("POST", "edit-image", {**IMAGE, "edit_type": "resize"}, {"edited_image_url"}),
    ("POST", "generate-video", {"prompt": "a bell", "duration": 4}, {"video_url"}),
    ("POST", "edit-video", {**VIDEO, "edit_type": "trim", "end_time": 3}, {"edited_video_url"}),
    ("POST", "video-filter", {**VIDEO, "filter": "vintage"}, {"filtered_video_url"}),
    ("GET", "image-metadata", IMAGE, {"image_id", "size", "width", "height", "created_at"}),
    ("GET", "video-metadata", VIDEO, {"video_id", "size", "duration", "created_at"}),
    ("POST", "image-to-video", {**IMAGE, "duration": 4}, {"video_url"}),
    ("POST", "add-text-to-image", {**IMAGE, "text": "a", "position": "top"}, {"text_image_url"}),
    ("POST", "style-transfer", {**IMAGE, "style_reference": "https://b/c"}, {"styled_image_url"}),
    ("POST", "resize-video", {**VIDEO, "new_width": 1, "new_height": 1}, {"resized_video_url"}),
    ("POST", "generate-thumbnail", {**VIDEO, "time_position": 0}, {"thumbnail_url"}),
    ("POST", "extract-audio", VIDEO, {"audio_url"}),
    ("POST", "speed-adjust", {**VIDEO, "speed_factor": 0.5}, {"adjusted_speed_video_url"}),
    ("DELETE", "delete-media", {"media_url": "https://b/c", "auth_token": "t"}, {"message"}),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("sandbox", pace=0.01) as client:
        yield client


async def call(world: World, method: str, name: str, given: dict[str, Any]) -> httpx.Response:
    if method == "GET":
        return await world.get(f"/v1/{name}", params=given)
    return await world.request(method, f"/v1/{name}", json=given)


def test_every_endpoint_is_tested() -> None:
    assert [(endpoint.method, endpoint.name) for endpoint in ENDPOINTS] == [
        call[:2] for call in CALLS
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "name", "given", "keys"), CALLS)
async def test_an_endpoint_answers_as_documented(
    world: World, method: str, name: str, given: dict[str, Any], keys: set[str]
) -> None:
    response = await call(world, method, name, given)

    assert response.status_code == 200
    assert response.json().keys() == keys


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "name", "given", "keys"), CALLS)
async def test_a_missing_parameter_is_named(
    world: World, method: str, name: str, given: dict[str, Any], keys: set[str]
) -> None:
    missing = next(iter(given))
    rest = {key: value for key, value in given.items() if key != missing}

    response = await call(world, method, name, rest)

    assert keys
    assert response.status_code == 400
    assert response.json() == {"error": f"Missing required parameter: {missing}"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("generate-image", {"prompt": "a", "style": "cubist"}, "style must be one of"),
        ("generate-image", {"prompt": 7}, "prompt must be text"),
        ("generate-video", {"prompt": "a", "duration": "4"}, "duration must be a whole number"),
        ("generate-video", {"prompt": "a", "duration": True}, "duration must be a whole number"),
        ("speed-adjust", {**VIDEO, "speed_factor": 0}, "speed_factor must be a positive number"),
    ],
)
async def test_an_invalid_parameter_is_rejected(
    world: World, name: str, given: dict[str, Any], message: str
) -> None:
    response = await call(world, "POST", name, given)

    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"[]", b"{", b"null"])
async def test_a_body_that_is_not_an_object_is_rejected(world: World, body: bytes) -> None:
    assert (await world.post("/v1/generate-image", content=body)).status_code == 400


@pytest.mark.anyio
async def test_a_wrong_key_is_unauthorized(world: World) -> None:
    response = await world.post("/v1/generate-image", headers={"Authorization": "Basic sandbox"})

    assert response.status_code == 401
    assert response.json() == {"error": "Unauthorized"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("directive", "status", "body"),
    [
        ("[fail]", 500, {"error": "The generation failed"}),
        ("[moderated]", 400, {"error": "The request violates our content policy"}),
        ("[empty]", 200, {}),
    ],
)
async def test_directives_control_the_response(
    world: World, directive: str, status: int, body: dict[str, str]
) -> None:
    response = await call(world, "POST", "generate-image", {"prompt": directive})

    assert (response.status_code, response.json()) == (status, body)


@pytest.mark.anyio
async def test_a_rejected_call_is_in_the_ledger_only_once_accepted(world: World) -> None:
    prompt = f"[503 1 after 4] {a_ref()}"

    rejected = await call(world, "POST", "generate-image", {"prompt": prompt})
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "4")
    assert await world.entries(prompt) == []

    assert (await call(world, "POST", "generate-image", {"prompt": prompt})).status_code == 200
    [entry] = await world.entries(prompt)
    assert (entry["operation"], entry["paid"], entry["ended"]) == ("generate-image", True, True)


@pytest.mark.anyio
async def test_a_hanging_call_is_accepted(world: World) -> None:
    prompt = f"[hang] {a_ref()}"

    hanging = asyncio.create_task(call(world, "POST", "generate-image", {"prompt": prompt}))
    entry = await world.ended(prompt)

    assert entry["paid"]
    assert not hanging.done()
    hanging.cancel()


@pytest.mark.anyio
async def test_reading_metadata_is_free(world: World) -> None:
    url = f"https://example.com/{a_ref()}"
    await call(world, "GET", "image-metadata", {"image_url": url})

    [entry] = await world.entries(url)

    assert not entry["paid"]
