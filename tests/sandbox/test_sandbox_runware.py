"""Runware in the sandbox: arrays in, one callback for each result out."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.sandbox.test_sandbox import World, a_ref, sandbox_world

IMAGE = "https://example.com/cat.jpg"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("sandbox") as made:
        yield made


def a_caption(ref: str, **more: Any) -> dict[str, Any]:
    base = {"taskType": "imageCaption", "taskUUID": ref, "inputImage": IMAGE}
    return base | {"model": "runware:150@2"} | more


def an_image(ref: str, prompt: str, **more: Any) -> dict[str, Any]:
    base = {"taskType": "imageInference", "taskUUID": ref, "positivePrompt": prompt}
    return base | {"model": "runware:101@1"} | more


async def post(world: World, *tasks: dict[str, Any]) -> httpx.Response:
    return await world.post("/v1", json=list(tasks))


async def read(world: World, ref: str, kind: str = "getResponse") -> dict[str, Any]:
    answer = await post(world, {"taskType": kind, "taskUUID": ref})
    return dict(answer.json())


@pytest.mark.anyio
async def test_a_task_with_a_webhook_is_acknowledged_and_called_back(world: World) -> None:
    ref = a_ref()

    answer = await post(world, a_caption(ref, webhookURL=world.inbox.address(ref)))
    [told] = await world.inbox.wait(ref, 1)

    assert answer.json() == {"data": [{"taskType": "imageCaption", "taskUUID": ref}]}
    assert told["data"][0]["taskUUID"] == ref
    assert told["data"][0]["text"]
    assert "cost" not in told["data"][0]


@pytest.mark.anyio
async def test_without_a_webhook_the_answer_carries_the_result(world: World) -> None:
    answer = await post(world, a_caption(a_ref(), includeCost=True))

    [result] = answer.json()["data"]
    assert result["text"]
    assert result["cost"] > 0


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["runware:153@1", "runware:154@1", "runware:152@50"])
async def test_an_age_detector_answers_with_structured_data(world: World, model: str) -> None:
    answer = await post(world, a_caption(a_ref(), model=model))

    [result] = answer.json()["data"]
    assert result["structuredData"].keys() == {"ageGroup", "confidence"}
    assert "text" not in result


@pytest.mark.anyio
async def test_each_result_has_its_own_callback(world: World) -> None:
    ref = a_ref()
    await post(world, an_image(ref, "a bell", numberResults=3, webhookURL=world.inbox.address(ref)))

    told = [body["data"][0] for body in await world.inbox.wait(ref, 3)]

    assert {item["taskUUID"] for item in told} == {ref}
    assert len({item["imageUUID"] for item in told}) == 3
    assert all(item["imageURL"].startswith("https://im.runware.ai/") for item in told)


@pytest.mark.anyio
@pytest.mark.parametrize("envelope", ["", "[wrapped]", "[flat]"])
@pytest.mark.parametrize("word", ["[fail]", "[moderated]", "[part-fail]"])
async def test_failures_come_in_every_envelope(world: World, envelope: str, word: str) -> None:
    ref = a_ref()
    prompt = f"{word}{envelope}"
    await post(world, an_image(ref, prompt, numberResults=2, webhookURL=world.inbox.address(ref)))
    count = 2 if word == "[part-fail]" else 1

    told = (await world.inbox.wait(ref, count))[-1]

    if envelope != "[flat]":
        error = told["errors"][0]
        assert "status" not in error
    elif word == "[part-fail]":
        assert told["status"] == "error"
        error = told["error"]
    else:
        assert told["status"] == "error"
        error = told
    assert error["code"] == (
        "contentPolicyViolation" if word == "[moderated]" else "inferenceError"
    )


@pytest.mark.anyio
async def test_a_flat_callback_is_the_bare_item(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref, prompt="[flat]", webhookURL=world.inbox.address(ref)))

    [told] = await world.inbox.wait(ref, 1)

    assert told["taskUUID"] == ref


@pytest.mark.anyio
async def test_a_video_tells_its_progress(world: World) -> None:
    ref = a_ref()
    task = an_image(ref, "a bell") | {"taskType": "videoInference"}
    await post(world, task | {"webhookURL": world.inbox.address(ref)})

    told = [body["data"][0] for body in await world.inbox.wait(ref, 4)]

    assert [item.get("progress") for item in told] == [25, 50, 75, None]
    assert told[-1]["videoURL"].startswith("https://vm.runware.ai/")


@pytest.mark.anyio
async def test_audio_has_its_own_host(world: World) -> None:
    task = an_image(a_ref(), "a bell") | {"taskType": "audioInference"}

    [result] = (await post(world, task)).json()["data"]

    assert result["audioURL"].startswith("https://am.runware.ai/")


@pytest.mark.anyio
async def test_get_response_is_processing_at_first(world: World) -> None:
    ref = a_ref()
    await post(world, an_image(ref, "[slow 9999]", deliveryMethod="async"))

    said = await read(world, ref)

    assert said == {
        "data": [{"taskType": "imageInference", "taskUUID": ref, "status": "processing"}]
    }


@pytest.mark.anyio
async def test_get_response_tells_results_and_errors_apart(world: World) -> None:
    ref = a_ref()
    await post(world, an_image(ref, "[part-fail]", numberResults=3, deliveryMethod="async"))
    await world.ended(ref)

    after = await read(world, ref)

    assert [item["status"] for item in after["data"]] == ["success", "success"]
    assert [item["code"] for item in after["errors"]] == ["inferenceError"]


@pytest.mark.anyio
async def test_task_details_give_back_the_request_and_the_response(world: World) -> None:
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

    said = await read(world, ref)

    assert said["errors"][0]["code"] == "taskNotFound"


@pytest.mark.anyio
async def test_the_same_uuid_again_is_a_conflict_and_no_second_task(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref))

    again = await post(world, a_caption(ref))

    assert again.status_code == 400
    assert again.json()["errors"][0]["code"] == "conflictTaskUUID"
    assert len(await world.entries(ref)) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("wrong", "code"),
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
    ],
)
async def test_a_wrong_task_is_refused_alone(
    world: World, wrong: dict[str, Any], code: str
) -> None:
    ref = a_ref()

    answer = await post(world, a_caption(a_ref(), **wrong), a_caption(ref))

    assert answer.status_code == 200
    assert [error["code"] for error in answer.json()["errors"]] == [code]
    assert [item["taskUUID"] for item in answer.json()["data"]] == [ref]


@pytest.mark.anyio
@pytest.mark.parametrize("image", [IMAGE, "data:image/png;base64,iVBORw0KGgo=", "iVBORw0K"])
async def test_every_form_of_input_image_is_taken(world: World, image: str) -> None:
    assert (await post(world, a_caption(a_ref(), inputImage=image))).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"[1]", b"null", b"{"])
async def test_anything_but_an_array_of_tasks_is_refused(world: World, body: bytes) -> None:
    answer = await world.post("/v1/", content=body)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "invalidRequest"


@pytest.mark.anyio
async def test_the_key_may_be_the_first_element_instead_of_a_header(world: World) -> None:
    auth = {"taskType": "authentication", "apiKey": "sandbox"}
    stranger = {"Authorization": "Bearer wrong"}

    inside = await world.post("/v1", json=[auth, a_caption(a_ref())], headers=stranger)
    outside = await world.post("/v1", json=[a_caption(a_ref())], headers=stranger)

    assert len(inside.json()["data"]) == 1
    assert outside.status_code == 401
    assert outside.json()["errors"][0]["code"] == "invalidApiKey"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "code"),
    [(402, "insufficientCredits"), (429, "rateLimitExceeded"), (503, "noAvailableServer")],
)
async def test_a_refused_array_is_refused_whole(world: World, status: int, code: str) -> None:
    ref, other = a_ref(), a_ref()

    answer = await post(world, a_caption(ref, prompt=f"[{status} 1 after 2]"), a_caption(other))

    assert answer.status_code == status
    assert answer.headers["Retry-After"] == "2"
    assert [error["code"] for error in answer.json()["errors"]] == [code, code]
    assert [error["taskUUID"] for error in answer.json()["errors"]] == [ref, other]
    assert await world.entries(ref) == await world.entries(other) == []


@pytest.mark.anyio
async def test_a_refusal_is_used_up_by_the_same_uuid(world: World) -> None:
    task = a_caption(a_ref(), prompt="[429]")

    assert [(await post(world, task)).status_code for _ in range(2)] == [429, 200]


@pytest.mark.anyio
async def test_a_failed_task_without_webhook_is_a_failed_request(world: World) -> None:
    answer = await post(world, a_caption(a_ref(), prompt="[moderated]"))

    assert answer.status_code == 400
    assert answer.json()["data"] == []
    assert answer.json()["errors"][0]["code"] == "contentPolicyViolation"


@pytest.mark.anyio
async def test_an_empty_success_carries_nothing(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref, prompt="[empty]", webhookURL=world.inbox.address(ref)))

    [told] = await world.inbox.wait(ref, 1)

    assert told == {"data": [{"taskType": "imageCaption", "taskUUID": ref}]}


@pytest.mark.anyio
async def test_a_webhook_is_tried_eight_times(world: World) -> None:
    ref = a_ref()
    world.inbox.answers[ref] = [500] * 8
    await post(world, a_caption(ref, webhookURL=world.inbox.address(ref)))

    entry = await world.ended(ref, callbacks=8)

    assert [tried["status_code"] for tried in entry["callbacks"]] == [500] * 8


@pytest.mark.anyio
async def test_an_early_result_comes_before_the_acknowledgement(world: World) -> None:
    ref = a_ref()

    await post(world, a_caption(ref, prompt="[early]", webhookURL=world.inbox.address(ref)))

    assert len(world.inbox.bodies[ref]) == 1


@pytest.mark.anyio
async def test_a_hanging_array_was_accepted_and_tells_its_end(world: World) -> None:
    ref = a_ref()
    task = a_caption(ref, prompt="[hang]", webhookURL=world.inbox.address(ref))

    hanging = asyncio.create_task(post(world, task))
    await world.inbox.wait(ref, 1)

    assert not hanging.done()
    hanging.cancel()


@pytest.mark.anyio
async def test_a_forgery_is_sent_before_the_true_result(world: World) -> None:
    ref = a_ref()
    await post(world, a_caption(ref, prompt="[forged]", webhookURL=world.inbox.address(ref)))

    forged, true = await world.inbox.wait(ref, 2)

    assert forged["data"][0]["text"] == "forged" != true["data"][0]["text"]
    assert len(set(world.inbox.queries[ref])) == 2


@pytest.mark.anyio
async def test_status_reads_are_counted_apart(world: World) -> None:
    async def count() -> int:
        requests = (await world.get("/ledger")).json()["requests"]
        return int(requests.get("POST /v1 getResponse", 0))

    before = await count()
    await read(world, a_ref())

    assert await count() == before + 1
