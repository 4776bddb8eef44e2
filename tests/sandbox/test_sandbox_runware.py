"""The emulated Runware: arrays of tasks and one callback per result."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.providers.runware.provider import Runware
from service.sandbox.providers.runware.checks import TASK_TYPES
from tests.sandbox.test_sandbox import World, a_ref, sandbox_world

IMAGE = "https://example.com/cat.jpg"
DELETION = {"taskType": "mediaStorage", "operation": "delete"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("sandbox") as client:
        yield client


def a_caption(ref: str, **more: Any) -> dict[str, Any]:
    base = {"taskType": "imageCaption", "taskUUID": ref, "inputImage": IMAGE}
    return base | {"model": "runware:150@2"} | more


def an_image(ref: str, prompt: str, **more: Any) -> dict[str, Any]:
    base = {"taskType": "imageInference", "taskUUID": ref, "positivePrompt": prompt}
    return base | {"model": "runware:101@1"} | more


async def post(world: World, *tasks: dict[str, Any]) -> httpx.Response:
    return await world.post("/v1", json=list(tasks))


async def read(world: World, ref: str, kind: str = "getResponse") -> dict[str, Any]:
    response = await post(world, {"taskType": kind, "taskUUID": ref})
    return dict(response.json())


@pytest.mark.anyio
async def test_a_task_with_a_webhook_is_acknowledged_and_called_back(world: World) -> None:
    ref = a_ref()

    response = await post(world, a_caption(ref, webhookURL=world.inbox.address(ref)))
    [callback] = await world.inbox.wait(ref, 1)

    assert response.json() == {"data": [{"taskType": "imageCaption", "taskUUID": ref}]}
    assert callback["data"][0]["taskUUID"] == ref
    assert callback["data"][0]["text"]
    assert "cost" not in callback["data"][0]


@pytest.mark.anyio
async def test_without_a_webhook_the_response_contains_the_result(world: World) -> None:
    response = await post(world, a_caption(a_ref(), includeCost=True))

    [result] = response.json()["data"]
    assert result["text"]
    assert result["cost"] > 0


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["runware:153@1", "runware:154@1", "runware:152@50"])
async def test_an_age_detection_model_returns_structured_data(world: World, model: str) -> None:
    response = await post(world, a_caption(a_ref(), model=model))

    [result] = response.json()["data"]
    assert result["structuredData"].keys() == {"ageGroup", "confidence"}
    assert "text" not in result


@pytest.mark.anyio
async def test_a_result_in_the_response_has_no_status(world: World) -> None:
    ref, moderated = a_ref(), a_ref()

    [result] = (await post(world, a_caption(ref))).json()["data"]
    [error] = (await post(world, a_caption(moderated, prompt="[moderated]"))).json()["errors"]

    assert result.keys() == {"taskType", "taskUUID", "text"}
    assert "status" not in error
    assert (await read(world, ref))["data"] == [{**result, "status": "success"}]


@pytest.mark.anyio
async def test_all_results_of_a_task_are_in_the_response(world: World) -> None:
    ref = a_ref()
    task = an_image(ref, "a bell [part-fail]", numberResults=3, deliveryMethod="sync")

    body = (await post(world, task)).json()

    assert [item["taskUUID"] for item in (*body["data"], *body["errors"])] == [ref] * 3
    assert len({item["imageUUID"] for item in body["data"]}) == 2


@pytest.mark.anyio
async def test_results_can_be_in_the_response_although_there_is_a_webhook(world: World) -> None:
    ref = a_ref()
    task = an_image(ref, "[at-once]", numberResults=2, webhookURL=world.inbox.address(ref))

    answered = (await post(world, task)).json()["data"]
    called_back = [body["data"][0] for body in await world.inbox.wait(ref, 2)]

    assert answered == called_back
    assert len({item["imageUUID"] for item in answered}) == 2


@pytest.mark.anyio
async def test_an_uploaded_image_is_an_input_of_other_tasks(world: World) -> None:
    ref = a_ref()
    upload = {"taskType": "imageUpload", "taskUUID": ref, "image": "data:image/png;base64,iVBORw0K"}

    [uploaded] = (await post(world, upload)).json()["data"]
    captioned = await post(world, a_caption(a_ref(), inputImage=uploaded["imageUUID"].upper()))
    again = await post(world, upload)

    assert uploaded.keys() == {"taskType", "taskUUID", "imageUUID", "imageURL"}
    assert captioned.status_code == 200
    assert again.json()["errors"][0]["code"] == "conflictTaskUUID"
    assert (await read(world, ref))["data"] == [{**uploaded, "status": "success"}]


@pytest.mark.anyio
async def test_a_generated_image_is_an_input_of_other_tasks(world: World) -> None:
    [image] = (await post(world, an_image(a_ref(), "a bell"))).json()["data"]

    captioned = await post(world, a_caption(a_ref(), inputImage=image["imageUUID"]))

    assert captioned.status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("task_type", ["imageCaption", "upscale"])
async def test_an_image_that_was_never_stored_is_refused(world: World, task_type: str) -> None:
    task = a_caption(a_ref(), inputImage=a_ref()) | {"taskType": task_type}

    response = await post(world, task)

    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert (error["code"], error["parameter"]) == ("invalidInputImage", "inputImage")


@pytest.mark.anyio
async def test_stored_media_can_be_deleted(world: World) -> None:
    store = {"taskType": "mediaStorage", "taskUUID": a_ref(), "operation": "upload", "media": IMAGE}

    [stored] = (await post(world, store)).json()["data"]
    before = await post(world, a_caption(a_ref(), inputImage=stored["mediaUUID"]))
    delete = {"taskType": "mediaStorage", "operation": "delete", "mediaUUID": stored["mediaUUID"]}
    [deleted] = (await post(world, {**delete, "taskUUID": a_ref()})).json()["data"]
    after = await post(world, a_caption(a_ref(), inputImage=stored["mediaUUID"]))

    assert deleted["mediaUUID"] == stored["mediaUUID"]
    assert (before.status_code, after.status_code) == (200, 400)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("given", "total", "count"),
    [
        ({"search": "qwen2.5"}, 3, 3),
        ({"search": "qwen", "limit": 1, "offset": 1}, 3, 1),
        ({"search": "none like this"}, 0, 0),
        ({}, 7, 7),
        ({"search": 5, "limit": "x", "offset": -1}, 7, 7),
    ],
)
async def test_models_are_searched_by_name(
    given: dict[str, Any], total: int, count: int, world: World
) -> None:
    response = await post(world, {"taskType": "modelSearch", "taskUUID": a_ref(), **given})

    [found] = response.json()["data"]
    assert (found["totalResults"], len(found["results"])) == (total, count)
    assert all(model.keys() == {"air", "name"} for model in found["results"])


@pytest.mark.anyio
async def test_a_model_upload_reports_its_steps(world: World) -> None:
    ref = a_ref()
    task = {"taskType": "modelUpload", "taskUUID": ref, "air": "acme:1@1"}
    await post(world, task | {"webhookURL": world.inbox.address(ref)})

    items = [body["data"][0] for body in await world.inbox.wait(ref, 4)]

    assert [item["status"] for item in items] == ["validated", "downloaded", "optimized", "ready"]
    assert {item["air"] for item in items} == {"acme:1@1"}


@pytest.mark.anyio
@pytest.mark.parametrize("task_type", ["aTypeOfTomorrow", "imagecaption", "x"])
async def test_an_unknown_task_type_is_refused(world: World, task_type: str) -> None:
    ref, other = a_ref(), a_ref()

    body = (await post(world, {"taskType": task_type, "taskUUID": ref}, a_caption(other))).json()

    [error] = body["errors"]
    assert (error["code"], error["parameter"]) == ("unsupportedTaskType", "taskType")
    assert (error["taskType"], error["taskUUID"]) == (task_type, ref)
    assert [item["taskUUID"] for item in body["data"]] == [other]


def test_every_listed_operation_is_a_known_task_type() -> None:
    assert Runware.operations.keys() <= TASK_TYPES


@pytest.mark.anyio
async def test_control_tasks_are_answered(world: World) -> None:
    ref = a_ref()
    authentication = {"taskType": "authentication", "apiKey": "sandbox"}
    account = {"taskType": "accountManagement", "taskUUID": ref, "operation": "getDetails"}

    tasks = (authentication, {"taskType": "ping", "ping": True}, account)
    body = (await post(world, *tasks)).json()

    assert [item["taskType"] for item in body["data"]] == [task["taskType"] for task in tasks]
    assert body["data"][1]["pong"] is True
    assert body["data"][2]["taskUUID"] == ref


@pytest.mark.anyio
async def test_each_result_has_its_own_callback(world: World) -> None:
    ref = a_ref()
    await post(world, an_image(ref, "a bell", numberResults=3, webhookURL=world.inbox.address(ref)))

    items = [body["data"][0] for body in await world.inbox.wait(ref, 3)]

    assert {item["taskUUID"] for item in items} == {ref}
    assert len({item["imageUUID"] for item in items}) == 3
    assert all(item["imageURL"].startswith(f"{world.url}/media/image/") for item in items)


@pytest.mark.anyio
@pytest.mark.parametrize("envelope", ["", "[wrapped]", "[flat]"])
@pytest.mark.parametrize("directive", ["[fail]", "[moderated]", "[part-fail]"])
async def test_failures_are_sent_in_every_envelope(
    world: World, envelope: str, directive: str
) -> None:
    ref = a_ref()
    prompt = f"{directive}{envelope}"
    await post(world, an_image(ref, prompt, numberResults=2, webhookURL=world.inbox.address(ref)))
    count = 2 if directive == "[part-fail]" else 1

    callback = (await world.inbox.wait(ref, count))[-1]

    if envelope != "[flat]":
        error = callback["errors"][0]
        assert "status" not in error
    elif directive == "[part-fail]":
        assert callback["status"] == "error"
        error = callback["error"]
    else:
        assert callback["status"] == "error"
        error = callback
    assert error["code"] == (
        "contentPolicyViolation" if directive == "[moderated]" else "inferenceError"
    )


@pytest.mark.anyio
async def test_a_flat_callback_is_the_item_itself(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref, prompt="[flat]", webhookURL=world.inbox.address(ref)))

    [callback] = await world.inbox.wait(ref, 1)

    assert callback["taskUUID"] == ref


@pytest.mark.anyio
async def test_a_video_reports_its_progress(world: World) -> None:
    ref = a_ref()
    task = an_image(ref, "a bell") | {"taskType": "videoInference"}
    await post(world, task | {"webhookURL": world.inbox.address(ref)})

    items = [body["data"][0] for body in await world.inbox.wait(ref, 4)]

    assert [item.get("progress") for item in items] == [25, 50, 75, None]
    assert items[-1]["videoURL"].startswith(f"{world.url}/media/video/")


@pytest.mark.anyio
async def test_audio_has_a_url_of_its_own_kind(world: World) -> None:
    task = an_image(a_ref(), "a bell") | {"taskType": "audioInference"}

    [result] = (await post(world, task)).json()["data"]

    assert result["audioURL"].startswith(f"{world.url}/media/audio/")


@pytest.mark.anyio
async def test_get_response_is_processing_at_first(world: World) -> None:
    ref = a_ref()
    await post(world, an_image(ref, "[slow 9999]", deliveryMethod="async"))

    body = await read(world, ref)

    assert body == {
        "data": [{"taskType": "imageInference", "taskUUID": ref, "status": "processing"}]
    }


@pytest.mark.anyio
async def test_get_response_separates_results_and_errors(world: World) -> None:
    ref = a_ref()
    await post(world, an_image(ref, "[part-fail]", numberResults=3, deliveryMethod="async"))
    await world.ended(ref)

    after = await read(world, ref)

    assert [item["status"] for item in after["data"]] == ["success", "success"]
    assert [item["code"] for item in after["errors"]] == ["inferenceError"]


@pytest.mark.anyio
async def test_task_details_contain_the_request_and_the_response(world: World) -> None:
    ref = a_ref()
    task = a_caption(ref)
    await post(world, task)

    [details] = (await read(world, ref, "getTaskDetails"))["data"]

    assert details["request"] == [task]
    assert details["response"]["data"][0]["text"]


@pytest.mark.anyio
@pytest.mark.parametrize("prompt", ["[gone]", None])
async def test_an_expired_or_unknown_task_is_an_error(world: World, prompt: str | None) -> None:
    ref = a_ref()
    if prompt:
        await post(world, a_caption(ref, prompt=prompt))

    body = await read(world, ref)

    assert body["errors"][0]["code"] == "taskNotFound"


@pytest.mark.anyio
async def test_a_repeated_uuid_is_a_conflict_and_creates_no_second_task(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref))

    again = await post(world, a_caption(ref))

    assert again.status_code == 400
    assert again.json()["errors"][0]["code"] == "conflictTaskUUID"
    assert len(await world.entries(ref)) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("invalid", "code"),
    [
        ({"taskType": None}, "missingTaskType"),
        ({"taskUUID": "7"}, "invalidTaskUUID"),
        ({"taskUUID": None}, "invalidTaskUUID"),
        ({"inputImage": None}, "missingInputImage"),
        ({"inputImage": "not an image"}, "invalidInputImage"),
        ({"model": ""}, "missingModel"),
        ({"model": "llava"}, "invalidModel"),
        ({"webhookURL": "nowhere"}, "invalidWebhookURL"),
        ({"deliveryMethod": "later"}, "invalidDeliveryMethod"),
        ({"numberResults": 21}, "invalidNumberResults"),
        ({"includeCost": "yes"}, "invalidIncludeCost"),
        ({"prompt": 7}, "invalidPrompt"),
        ({"taskType": "imageUpload"}, "missingImage"),
        ({"taskType": "imageUpload", "image": 7}, "invalidImage"),
        ({"taskType": "mediaStorage", "media": IMAGE}, "missingOperation"),
        ({"taskType": "mediaStorage", "operation": "upload"}, "missingMedia"),
        ({"taskType": "mediaStorage", "operation": "delete"}, "missingMediaUUID"),
        ({**DELETION, "mediaUUID": "7"}, "invalidMediaUUID"),
        ({**DELETION, "mediaUUID": a_ref()}, "invalidMediaUUID"),
    ],
)
async def test_an_invalid_task_does_not_affect_the_others(
    world: World, invalid: dict[str, Any], code: str
) -> None:
    ref = a_ref()

    response = await post(world, a_caption(a_ref(), **invalid), a_caption(ref))

    assert response.status_code == 200
    assert [error["code"] for error in response.json()["errors"]] == [code]
    assert [item["taskUUID"] for item in response.json()["data"]] == [ref]


@pytest.mark.anyio
@pytest.mark.parametrize("image", [IMAGE, "data:image/png;base64,iVBORw0KGgo=", "iVBORw0K"])
async def test_every_form_of_input_image_is_accepted(world: World, image: str) -> None:
    assert (await post(world, a_caption(a_ref(), inputImage=image))).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"[1]", b"null", b"{"])
async def test_a_body_other_than_an_array_of_tasks_is_rejected(world: World, body: bytes) -> None:
    response = await world.post("/v1/", content=body)

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "invalidRequest"


@pytest.mark.anyio
async def test_the_api_key_may_be_in_the_first_element_or_in_a_header(world: World) -> None:
    auth = {"taskType": "authentication", "apiKey": "sandbox"}
    wrong_key = {"Authorization": "Bearer wrong"}

    task = a_caption(a_ref())
    inside = await world.post("/v1", json=[auth, task], headers=wrong_key)
    outside = await world.post("/v1", json=[a_caption(a_ref())], headers=wrong_key)

    assert [item["taskType"] for item in inside.json()["data"]] == [
        "authentication",
        "imageCaption",
    ]
    assert outside.status_code == 401
    assert outside.json()["errors"][0]["code"] == "invalidApiKey"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "code"),
    [(402, "insufficientCredits"), (429, "rateLimitExceeded"), (503, "noAvailableServer")],
)
async def test_a_forced_error_rejects_the_whole_array(world: World, status: int, code: str) -> None:
    ref, other = a_ref(), a_ref()

    response = await post(world, a_caption(ref, prompt=f"[{status} 1 after 2]"), a_caption(other))

    assert response.status_code == status
    assert response.headers["Retry-After"] == "2"
    assert [error["code"] for error in response.json()["errors"]] == [code, code]
    assert [error["taskUUID"] for error in response.json()["errors"]] == [ref, other]
    assert await world.entries(ref) == await world.entries(other) == []


@pytest.mark.anyio
async def test_a_forced_error_is_sent_once_per_uuid(world: World) -> None:
    task = a_caption(a_ref(), prompt="[429]")

    assert [(await post(world, task)).status_code for _ in range(2)] == [429, 200]


@pytest.mark.anyio
async def test_a_failed_task_without_webhook_fails_the_request(world: World) -> None:
    response = await post(world, a_caption(a_ref(), prompt="[moderated]"))

    assert response.status_code == 400
    assert response.json()["data"] == []
    assert response.json()["errors"][0]["code"] == "contentPolicyViolation"


@pytest.mark.anyio
async def test_an_empty_success_has_no_output(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref, prompt="[empty]", webhookURL=world.inbox.address(ref)))

    [callback] = await world.inbox.wait(ref, 1)

    assert callback == {"data": [{"taskType": "imageCaption", "taskUUID": ref}]}


@pytest.mark.anyio
async def test_a_callback_is_attempted_eight_times(world: World) -> None:
    ref = a_ref()
    world.inbox.answers[ref] = [500] * 8
    await post(world, a_caption(ref, webhookURL=world.inbox.address(ref)))

    entry = await world.ended(ref, callbacks=8)

    assert [attempt["status_code"] for attempt in entry["callbacks"]] == [500] * 8


@pytest.mark.anyio
async def test_an_early_result_comes_before_the_acknowledgement(world: World) -> None:
    ref = a_ref()

    await post(world, a_caption(ref, prompt="[early]", webhookURL=world.inbox.address(ref)))

    assert len(world.inbox.bodies[ref]) == 1


@pytest.mark.anyio
async def test_a_hanging_request_is_accepted_and_sends_its_callback(world: World) -> None:
    ref = a_ref()
    task = a_caption(ref, prompt="[hang]", webhookURL=world.inbox.address(ref))

    hanging = asyncio.create_task(post(world, task))
    await world.inbox.wait(ref, 1)

    assert not hanging.done()
    hanging.cancel()


@pytest.mark.anyio
async def test_a_forged_callback_precedes_the_genuine_one(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref, prompt="[forged]", webhookURL=world.inbox.address(ref)))

    forged, genuine = await world.inbox.wait(ref, 2)

    assert forged["data"][0]["text"] == "forged" != genuine["data"][0]["text"]
    assert len(set(world.inbox.queries[ref])) == 2


@pytest.mark.anyio
async def test_status_requests_are_counted_separately(world: World) -> None:
    async def count() -> int:
        requests = (await world.get("/ledger")).json()["requests"]
        return int(requests.get("POST /v1 getResponse", 0))

    before = await count()
    await read(world, a_ref())

    assert await count() == before + 1
