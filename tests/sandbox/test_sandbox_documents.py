"""The emulated providers answer in the words and shapes of the documents they are made from.

The payloads `documented_*` are the examples of the documents, verbatim.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from service.sandbox import Account, UseapiSetup
from service.sandbox.media.files import read_path
from service.sandbox.providers.useapi.assets import example_asset
from tests.sandbox.test_sandbox import World, a_ref, sandbox_world
from tests.support.paths import PAYLOADS

EMAIL: Final = "documents@example.com"
ASSET: Final = example_asset(EMAIL)
USEAPI: Final = "/v1/runwayml"
CREATE: Final = f"{USEAPI}/frames/create"
MODELS: Final = {
    "runware:150@2": "LLaVA-1.6-Mistral-7B",
    "runware:151@1": "OpenAI CLIP ViT-L/14",
    "runware:152@1": "Qwen2.5-VL-3B-Instruct",
    "runware:152@2": "Qwen2.5-VL-7B-Instruct",
    "runware:153@1": "ViT Age Classifier",
    "runware:154@1": "Open Age Detection",
    "runware:152@50": "Qwen2.5-VL-7B Age Detector",
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def useapi(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    setup = UseapiSetup(accounts=(Account(email=EMAIL, max_jobs=10),))
    async with sandbox_world("user:1-sandbox", useapi=setup) as client:
        yield client


@pytest.fixture(scope="module")
async def runware(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("sandbox") as client:
        yield client


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_bytes())


def request(number: int) -> dict[str, Any]:
    return dict(payload(f"runware/documented_request_{number}"))


def shape(value: Any) -> Any:
    """Replace every value by its type, and keep the names of the fields and their order."""
    if isinstance(value, dict):
        return [(name, shape(field)) for name, field in value.items()]
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


async def create(world: World, **given: Any) -> httpx.Response:
    return await world.post(CREATE, json={"text_prompt": "a bell", **given})


def names_and_types(task: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    """Return the fields of *task* and those of its options, sorted by name."""
    options = task["options"]
    rest = {name: value for name, value in task.items() if name != "options"}
    return sorted(shape(rest)), sorted(shape(options))


@pytest.mark.anyio
async def test_a_task_of_frames_has_all_documented_fields_with_their_types(useapi: World) -> None:
    ref = a_ref()
    given = {"style": "vivid", "seed": 7, "exploreMode": True, "replyRef": ref}

    response = await create(useapi, **given, replyUrl=useapi.inbox.address(ref))

    documented = payload("useapi/documented_frames_200")
    assert response.status_code == 200
    assert names_and_types(response.json()) == names_and_types(documented)
    kept = ("flip", "assetGroupName", "recordingEnabled")
    assert all(response.json()["options"][name] == documented["options"][name] for name in kept)
    assert response.json()["taskType"] == documented["taskType"]


@pytest.mark.anyio
async def test_the_documented_defaults_of_frames_are_applied(useapi: World) -> None:
    request = payload("useapi/documented_frames_minimal_request")

    options = (await useapi.post(CREATE, json=request)).json()["options"]
    landscape = (await create(useapi, aspect_ratio="16:9")).json()["options"]

    assert (options["width"], options["height"]) == (landscape["width"], landscape["height"])
    assert options["width"] > options["height"]
    assert options["diversity"] == 2
    assert options["exploreMode"] is False


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", CREATE, "documented_frames_401"),
        ("GET", f"{USEAPI}/frames/describe/{ASSET}", "documented_describe_401"),
    ],
)
async def test_a_wrong_token_gets_the_documented_body(
    useapi: World, method: str, path: str, name: str
) -> None:
    response = await useapi.request(method, path, headers={"Authorization": "Bearer wrong"})

    assert (response.status_code, response.json()) == (401, payload(f"useapi/{name}"))


@pytest.mark.anyio
async def test_an_invalid_call_gets_the_documented_fields(useapi: World) -> None:
    created = await create(useapi, style="vapor")
    described = await useapi.get(f"{USEAPI}/frames/describe/unknown")

    for response, name in ((created, "frames"), (described, "describe")):
        documented = payload(f"useapi/documented_{name}_400")
        assert response.status_code == response.json()["code"] == documented["code"] == 400
        assert shape(response.json()) == shape(documented)


@pytest.mark.anyio
async def test_a_description_has_the_documented_fields(useapi: World) -> None:
    response = await useapi.get(f"{USEAPI}/frames/describe/{ASSET}")

    assert shape(response.json()) == shape(payload("useapi/documented_describe_200"))


@pytest.mark.anyio
async def test_an_account_without_credits_gets_the_documented_body() -> None:
    setup = UseapiSetup(accounts=(Account(credits=0),))
    async with sandbox_world("user:1-sandbox", useapi=setup) as world:
        response = await create(world)

    documented = payload("useapi/documented_frames_412")
    assert (response.status_code, response.json()) == (412, documented)


@pytest.mark.anyio
async def test_a_full_account_gets_the_documented_fields_for_each_running_task() -> None:
    setup = UseapiSetup(accounts=(Account(email=EMAIL, max_jobs=2),))
    async with sandbox_world("user:1-sandbox", useapi=setup) as world:
        for ref in (a_ref(), a_ref()):
            given = {"replyRef": ref, "replyUrl": world.inbox.address(ref)}
            await create(world, text_prompt="[slow 9999]", **given)
        response = await create(world)

    body, documented = response.json(), payload("useapi/documented_frames_429_account")
    (tasks,), (documented_tasks,) = (one["runningTasks"].values() for one in (body, documented))
    assert response.status_code == body["code"] == 429
    assert body["error"] == f"Account {EMAIL} is busy executing 2 tasks"
    assert body.keys() == documented.keys()
    assert [task.keys() for task in tasks] == [task.keys() for task in documented_tasks]


@pytest.mark.anyio
async def test_a_429_of_runway_has_the_documented_body(useapi: World) -> None:
    responses = [await create(useapi, text_prompt="[429 2]", replyRef="runway") for _ in range(2)]

    assert [response.status_code for response in responses] == [429, 429]
    assert payload("useapi/documented_frames_429_runway") in [one.json() for one in responses]


@pytest.mark.anyio
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_documented_caption_has_the_documented_fields(runware: World, number: int) -> None:
    response = await runware.post("/v1", json=[request(number) | {"includeCost": True}])

    (result,) = response.json()["data"]
    (documented,) = payload("runware/documented_response")["data"]
    structured = payload("runware/documented_structured_data")
    is_age = request(number)["model"] == "runware:152@50"
    kept = {name: documented[name] for name in ("taskType", "taskUUID", "cost")}
    expected = kept | (structured if is_age else {"text": documented["text"]})
    assert response.status_code == 200
    assert result["taskUUID"] == request(number)["taskUUID"]
    assert result["taskType"] == documented["taskType"]
    assert result.keys() == expected.keys()
    assert result.get("structuredData") == (structured["structuredData"] if is_age else None)


@pytest.mark.anyio
async def test_a_cost_is_told_only_if_it_is_asked_for(runware: World) -> None:
    tasks = [
        request(1) | {"taskUUID": a_ref(), **more}
        for more in ({}, {"includeCost": False}, {"includeCost": True})
    ]

    results = (await runware.post("/v1", json=tasks)).json()["data"]

    assert ["cost" in result for result in results] == [False, False, True]


@pytest.mark.anyio
async def test_a_caption_is_in_the_response_unless_async_is_asked_for(runware: World) -> None:
    tasks = [
        request(1) | {"taskUUID": a_ref(), **more}
        for more in ({}, {"deliveryMethod": "sync"}, {"deliveryMethod": "async"})
    ]

    by_default, at_once, later = (await runware.post("/v1", json=tasks)).json()["data"]
    ref = later["taskUUID"]
    await runware.ended(ref)
    polled = await runware.post("/v1", json=[{"taskType": "getResponse", "taskUUID": ref}])

    assert "text" in by_default
    assert "text" in at_once
    assert later == {"taskType": "imageCaption", "taskUUID": ref}
    (result,) = polled.json()["data"]
    assert result["status"] == "success"
    assert result["text"]


@pytest.mark.anyio
async def test_every_documented_model_is_found_by_its_name(runware: World) -> None:
    search = {"taskType": "modelSearch", "taskUUID": a_ref()}

    (found,) = (await runware.post("/v1", json=[search])).json()["data"]

    assert {model["air"]: model["name"] for model in found["results"]} == MODELS


@pytest.mark.anyio
async def test_a_video_of_runway_ai_has_24_frames_per_second_by_default(runware: World) -> None:
    given = {"prompt": "a bell", "duration": 2}

    video = (await runware.post("/v1/generate-video", json=given)).json()["video_url"]

    file = read_path(httpx.URL(video).path)
    assert file is not None
    assert (file.fps, file.milliseconds) == (24, 2000)


@pytest.mark.anyio
@pytest.mark.parametrize(("factor", "milliseconds"), [(0.5, 4000), (2, 1000)])
async def test_half_the_speed_takes_twice_the_time(
    runware: World, factor: float, milliseconds: int
) -> None:
    given = {"prompt": "a bell", "duration": 2}
    video = (await runware.post("/v1/generate-video", json=given)).json()["video_url"]

    response = await runware.post(
        "/v1/speed-adjust", json={"video_url": video, "speed_factor": factor}
    )

    file = read_path(httpx.URL(response.json()["adjusted_speed_video_url"]).path)
    assert file is not None
    assert file.milliseconds == milliseconds


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["image-metadata", "video-metadata"])
async def test_metadata_has_the_documented_fields(runware: World, name: str) -> None:
    kind = name.partition("-")[0]
    given = {"prompt": "a bell"} | ({"duration": 2} if kind == "video" else {})
    made = (await runware.post(f"/v1/generate-{kind}", json=given)).json()

    told = (await runware.get(f"/v1/{name}", params=made)).json()

    assert shape(told) == shape(payload(f"runway_ai/documented_{name}"))
    assert told["created_at"].endswith("Z")
