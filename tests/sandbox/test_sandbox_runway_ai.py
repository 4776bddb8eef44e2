"""The emulated runway-ai.ai: fifteen endpoints that answer when the task has ended."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import httpx
import pytest

from service.providers.runway_ai.catalog import ENDPOINTS as PROVIDER
from service.sandbox.media import files
from service.sandbox.media.files import MediaFile, Tint, read_path
from service.sandbox.media.server import render
from service.sandbox.providers.runway_ai.endpoints import ENDPOINTS
from tests.sandbox.test_sandbox import World, a_ref, sandbox_world

A_PICTURE = files.image("a bell").path
A_VIDEO = files.video("a bell").path
IMAGE = {"image_url": A_PICTURE}
VIDEO = {"video_url": A_VIDEO}
Made = Callable[[MediaFile], object]
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
    ("POST", "style-transfer", {**IMAGE, "style_reference": A_PICTURE}, {"styled_image_url"}),
    ("POST", "resize-video", {**VIDEO, "new_width": 1, "new_height": 1}, {"resized_video_url"}),
    ("POST", "generate-thumbnail", {**VIDEO, "time_position": 0}, {"thumbnail_url"}),
    ("POST", "extract-audio", VIDEO, {"audio_url"}),
    ("POST", "speed-adjust", {**VIDEO, "speed_factor": 0.5}, {"adjusted_speed_video_url"}),
    ("DELETE", "delete-media", {"media_url": A_PICTURE, "auth_token": "t"}, {"message"}),
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
    """Call an endpoint; values that are paths of media become URLs of this sandbox."""
    given = {
        key: f"{world.url}/{value}" if str(value).startswith("media/") else value
        for key, value in given.items()
    }
    if method == "GET":
        return await world.get(f"/v1/{name}", params=given)
    return await world.request(method, f"/v1/{name}", json=given)


async def make(world: World, kind: str, given: dict[str, Any]) -> str:
    """Generate an image or a video; return its URL."""
    response = await call(world, "POST", f"generate-{kind}", given)
    return str(response.json()[f"{kind}_url"])


def file_at(url: str) -> MediaFile:
    file = read_path(httpx.URL(url).path)
    assert file is not None
    return file


def test_every_endpoint_is_tested() -> None:
    assert [(endpoint.method, endpoint.name) for endpoint in ENDPOINTS] == [
        call[:2] for call in CALLS
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "name", "given", "keys"), CALLS)
async def test_an_endpoint_answers_as_documented(
    world: World, method: str, name: str, given: dict[str, Any], keys: set[str]
) -> None:
    if name == "delete-media":
        given = given | {"media_url": await make(world, "image", {"prompt": "a bell"})}

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
    url = await make(world, "image", {"prompt": a_ref()})
    await call(world, "GET", "image-metadata", {"image_url": url})

    [entry] = await world.entries(url)

    assert not entry["paid"]


@pytest.mark.anyio
async def test_the_metadata_of_an_image_describes_its_file(world: World) -> None:
    before = int(time.time())
    url = await make(world, "image", {"prompt": "a bell"})
    given = {"image_url": url, "edit_type": "resize", "resize_width": 300, "resize_height": 200}
    resized = (await call(world, "POST", "edit-image", given)).json()["edited_image_url"]

    told = (await call(world, "GET", "image-metadata", {"image_url": resized})).json()

    data = (await world.get(resized)).content
    created_at = datetime.strptime(told.pop("created_at"), "%Y-%m-%dT%H:%M:%S%z")
    assert before <= created_at.timestamp() <= time.time()
    assert told == {
        "image_id": resized.rpartition("/")[2].removesuffix(".png"),
        "size": f"{round(len(data) / 1024)}KB",
        "width": 300,
        "height": 200,
    }
    assert int.from_bytes(data[16:20], "big") == 300


@pytest.mark.anyio
async def test_the_metadata_of_a_video_describes_its_file(world: World) -> None:
    url = await make(world, "video", {"prompt": "a bell", "duration": 3, "fps": 10})
    given = {"video_url": url, "speed_factor": 2}
    faster = (await call(world, "POST", "speed-adjust", given)).json()["adjusted_speed_video_url"]

    told = (await call(world, "GET", "video-metadata", {"video_url": faster})).json()

    data = (await world.get(faster)).content
    assert (told["duration"], file_at(faster).frames) == ("1.5s", 15)
    assert told["size"] == f"{round(len(data) / 1024)}KB"
    assert told["video_id"] in faster


@pytest.mark.anyio
async def test_a_file_of_another_emulated_provider_has_metadata_too(world: World) -> None:
    told = (await call(world, "GET", "image-metadata", IMAGE)).json()

    assert datetime.fromisoformat(told["created_at"]).year >= 2024


@pytest.mark.anyio
async def test_the_same_prompt_gives_another_file_with_the_same_picture(world: World) -> None:
    one, other = [await make(world, "image", {"prompt": "a bell"}) for _ in range(2)]

    assert one != other
    assert (await world.get(one)).content == (await world.get(other)).content


@pytest.mark.anyio
async def test_a_style_changes_the_colours(world: World) -> None:
    urls = [
        await make(world, "image", {"prompt": "a bell", "style": style})
        for style in ("sketch", "abstract")
    ]

    one, other = (file_at(url) for url in urls)
    assert one.shapes == other.shapes
    assert one.colours != other.colours


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "given", "made", "expected"),
    [
        (
            "edit-image",
            {**IMAGE, "edit_type": "resize", "resize_width": 99999, "resize_height": 1},
            lambda file: (file.width, file.height),
            (1024, 16),
        ),
        (
            "edit-image",
            {**IMAGE, "edit_type": "resize"},
            lambda file: (file.width, file.height),
            (480, 270),
        ),
        (
            "edit-image",
            {**IMAGE, "edit_type": "add-filter", "filter": "black-and-white"},
            lambda file: file.tint,
            Tint.BLACK_AND_WHITE,
        ),
        (
            "edit-image",
            {**IMAGE, "edit_type": "color-adjust"},
            lambda file: file.colours == files.image("a bell").colours,
            False,
        ),
        (
            "video-filter",
            {**VIDEO, "filter": "vintage"},
            lambda file: (file.tint, file.milliseconds),
            (Tint.SEPIA, 2000),
        ),
        (
            "video-filter",
            {**VIDEO, "filter": "cinematic"},
            lambda file: file.colours == files.video("a bell").colours,
            False,
        ),
        (
            "edit-video",
            {**VIDEO, "edit_type": "trim", "start_time": 1},
            lambda file: file.milliseconds,
            1000,
        ),
        (
            "edit-video",
            {**VIDEO, "edit_type": "trim", "start_time": 0, "end_time": 1},
            lambda file: file.milliseconds,
            1000,
        ),
        (
            "edit-video",
            {**VIDEO, "edit_type": "adjust-speed"},
            lambda file: file.milliseconds,
            2000,
        ),
        (
            "image-to-video",
            {**IMAGE, "duration": 4},
            lambda file: (file.width, file.height, file.frames),
            (192, 108, 96),
        ),
        (
            "generate-video",
            {"prompt": "a bell", "duration": 10**9, "fps": 10**9},
            lambda file: (file.milliseconds, file.fps),
            (60_000, 60),
        ),
        (
            "style-transfer",
            {**IMAGE, "style_reference": files.image("a gong").path},
            lambda file: (file.shapes, file.colours),
            (files.image("a bell").shapes, files.image("a gong").colours),
        ),
        (
            "resize-video",
            {**VIDEO, "new_width": 101, "new_height": 10**9},
            lambda file: (file.width, file.height),
            (100, 320),
        ),
        ("generate-thumbnail", VIDEO, lambda file: (file.width, file.height), (192, 108)),
        ("extract-audio", VIDEO, lambda file: (file.kind, file.milliseconds), ("audio", 2000)),
        ("speed-adjust", {**VIDEO, "speed_factor": 1e300}, lambda file: file.milliseconds, 100),
        ("speed-adjust", {**VIDEO, "speed_factor": 1e-320}, lambda file: file.milliseconds, 60_000),
    ],
)
async def test_an_edit_makes_a_new_file_of_what_was_asked(
    world: World, name: str, given: dict[str, Any], made: Made, expected: object
) -> None:
    response = await call(world, "POST", name, given)

    (url,) = response.json().values()
    assert made(file_at(url)) == expected
    assert (await world.get(url)).content == render(file_at(url))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "name", "missing", "kind"),
    [
        ("GET", "image-metadata", "image_url", "image"),
        ("GET", "video-metadata", "video_url", "video"),
        ("POST", "extract-audio", "video_url", "video"),
        ("POST", "style-transfer", "style_reference", "image"),
        ("DELETE", "delete-media", "media_url", "file"),
    ],
)
async def test_media_that_the_sandbox_did_not_make_is_not_found(
    world: World, method: str, name: str, missing: str, kind: str
) -> None:
    strangers = [
        "https://example.com/a.png",
        f"https://example.com/{A_PICTURE}",
        "http://[",
        "media/image/x.png",
        A_PICTURE.replace(".png", ""),
    ]
    if kind != "file":
        strangers.append(files.audio("a bell").path)
    given = {**IMAGE, **VIDEO, "auth_token": "t"}

    responses = [await call(world, method, name, {**given, missing: url}) for url in strangers]

    assert [response.status_code for response in responses] == [404] * len(strangers)
    assert responses[-1].json() == {"error": f"Media not found: there is no {kind} at {missing}"}


@pytest.mark.anyio
async def test_a_deleted_file_is_gone(world: World) -> None:
    url = await make(world, "image", {"prompt": "a bell"})
    other = await make(world, "image", {"prompt": "a bell"})
    given = {"media_url": url, "auth_token": "t"}

    deleted = await call(world, "DELETE", "delete-media", given)

    assert (deleted.status_code, deleted.json()) == (200, {"message": "Media successfully deleted"})
    assert (await world.get(url)).status_code == 404
    assert (await call(world, "GET", "image-metadata", {"image_url": url})).status_code == 404
    assert (await call(world, "DELETE", "delete-media", given)).status_code == 404
    assert (await world.get(other)).status_code == 200


@pytest.mark.anyio
async def test_one_of_two_deletions_at_once_finds_the_file(world: World) -> None:
    url = await make(world, "image", {"prompt": "a bell"})
    given = {"media_url": url, "auth_token": "t"}

    answers = await asyncio.gather(
        *(call(world, "DELETE", "delete-media", given) for _ in range(2))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 404]


@pytest.mark.anyio
async def test_a_directive_in_the_query_of_a_url_controls_the_response(world: World) -> None:
    url = await make(world, "image", {"prompt": "a bell"})
    given = {"media_url": f"{url}?[fail]", "auth_token": "t"}

    assert (await call(world, "DELETE", "delete-media", given)).status_code == 500
    assert (await world.get(url)).status_code == 200


def test_the_emulated_endpoints_have_the_parameters_that_the_service_sends() -> None:
    kinds = {"int": "integer", "float": "number"}
    for endpoint in ENDPOINTS:
        emulated = [
            (parameter.name, kinds.get(parameter.kind, "string"), parameter.options, required)
            for required, parameters in ((True, endpoint.required), (False, endpoint.optional))
            for parameter in parameters
        ]
        sent = PROVIDER[endpoint.name].operation.inputs

        assert emulated == [
            (field.name, field.kind, field.one_of, field.required) for field in sent
        ], endpoint.name
