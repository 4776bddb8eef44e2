"""Jobs over real sockets: submit, emulated provider, callback, webhook, stream, status."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from service.sandbox import EXAMPLE_ASSET
from tests.support.receivers import Receiver
from tests.support.service_harness import ADMIN_KEY, Json, SandboxedService, plain_client

pytestmark = pytest.mark.anyio

IMAGE = "5788104a-1ca7-4b7e-8a16-b27b57e86f87"
CAPTION = {"inputImage": IMAGE, "model": "runware:150@2"}
CASES = {
    "a useapi image": ("useapi", "frames.create", {"text_prompt": "a lighthouse"}),
    "a useapi description": ("useapi", "frames.describe", {"image_assetId": EXAMPLE_ASSET}),
    "a Runware caption": ("runware", "imageCaption", CAPTION),
    "a flat Runware caption": ("runware", "imageCaption", {**CAPTION, "prompt": "what [flat]"}),
    "a wrapped Runware caption": ("runware", "imageCaption", {**CAPTION, "prompt": "x [wrapped]"}),
    "a Runware video": (
        "runware",
        "videoInference",
        {"positivePrompt": "a bell [dup 2]", "model": "klingai:5@3"},
    ),
    "a runway-ai.ai image": ("runway_ai", "generate-image", {"prompt": "a lighthouse"}),
    "a callback before the response": ("useapi", "frames.create", {"text_prompt": "x [early]"}),
    "repeated callbacks": ("useapi", "frames.create", {"text_prompt": "x [dup 3]"}),
    "shuffled callbacks": ("useapi", "frames.create", {"text_prompt": "x [shuffle]"}),
    "a forged callback first": ("useapi", "frames.create", {"text_prompt": "x [forged]"}),
    "a busy provider": ("useapi", "frames.create", {"text_prompt": "x [429 1 after 1]"}),
}


async def messages(
    sandboxed: SandboxedService, path: str, **headers: str
) -> AsyncIterator[tuple[int, str]]:
    """Read the (id, type) of a stream's messages until it closes."""
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream(
            "GET", sandboxed.url + path, headers={"authorization": f"Bearer {ADMIN_KEY}", **headers}
        ) as response,
    ):
        seq = 0
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                seq = int(line.removeprefix("id: "))
            if line.startswith("event: "):
                yield seq, line.removeprefix("event: ")


@pytest.mark.parametrize("name", CASES)
async def test_webhook_stream_and_status_agree_on_the_events_of_a_job(
    name: str, sandboxed: SandboxedService, receiver: Receiver
) -> None:
    provider, operation, given = CASES[name]
    subscription = await sandboxed.subscribe(receiver.url, "job.*", delivery="every")

    job = await sandboxed.submit(provider, operation, given, reply_ref="order-1", tags=["test"])
    streamed = [kind async for _, kind in messages(sandboxed, f"/v1/jobs/{job['id']}/stream")]
    ended = await sandboxed.job(job["id"])
    last = await receiver.wait_for(lambda r: r.event["type"] == "job.succeeded")

    assert ended["status"] == "succeeded"
    assert ended["output"]["artifacts"] or ended["output"]["text"]
    assert streamed[0] == "job.queued"
    assert streamed[-1] == "job.succeeded"
    assert streamed.count("job.succeeded") == 1
    last.verify(subscription["secret"])
    assert last.headers["webhook-id"] == last.event["id"]
    assert {**last.event["data"], "input": job["input"]} == ended
    assert receiver.types == streamed
    await assert_paid_once_and_not_polled(sandboxed)


async def assert_paid_once_and_not_polled(sandboxed: SandboxedService) -> None:
    ledger = await sandboxed.ledger()
    assert len([task for task in ledger["tasks"] if task["paid"]]) <= 1
    lookups = ("tasks", "scheduler", "getResponse", "getTaskDetails")
    assert not [name for name in ledger["requests"] if any(lookup in name for lookup in lookups)]


@pytest.mark.parametrize(
    ("given", "code", "retryable"),
    [
        ({"text_prompt": "x [fail]"}, "provider_error", True),
        ({"text_prompt": "x [moderated]"}, "moderated", False),
        ({"text_prompt": "x [422]"}, "moderated", False),
        ({"text_prompt": "x [403]"}, "invalid_input", False),
        ({"text_prompt": "x [empty]"}, "no_output", True),
    ],
)
async def test_a_failed_job_has_an_error_code(
    given: Json, code: str, *, retryable: bool, sandboxed: SandboxedService, receiver: Receiver
) -> None:
    await sandboxed.subscribe(receiver.url)

    job = await sandboxed.submit("useapi", "frames.create", given)
    ended = await sandboxed.ended(job["id"])
    (webhook,) = await receiver.wait()

    assert ended["status"] == "failed"
    assert (ended["error"]["code"], ended["error"]["retryable"]) == (code, retryable)
    assert webhook.event["type"] == "job.failed"


async def test_runware_jobs_submitted_in_one_array_are_sent_in_one_request(
    sandboxed: SandboxedService,
) -> None:
    requests = [
        {"provider": "runware", "operation": "imageCaption", "input": CAPTION} for _ in range(5)
    ]

    listed = await sandboxed.post("/v1/jobs", requests)
    ended = await asyncio.gather(*(sandboxed.ended(job["id"]) for job in listed["data"]))

    assert {job["status"] for job in ended} == {"succeeded"}
    counts = (await sandboxed.ledger())["requests"]
    assert sum(n for name, n in counts.items() if name == "POST /v1") == 1, counts


async def test_a_job_with_several_results_ends_with_the_last_one(
    sandboxed: SandboxedService,
) -> None:
    given = {
        "positivePrompt": "a lighthouse [shuffle] [part-fail]",
        "model": "runware:101@1",
        "width": 512,
        "height": 512,
        "numberResults": 4,
    }

    job = await sandboxed.submit("runware", "imageInference", given)
    ended = await sandboxed.ended(job["id"])

    assert ended["status"] == "succeeded"
    assert len(ended["output"]["artifacts"]) == 3
    assert len(ended["output"]["errors"]) == 1


async def test_a_reply_url_in_the_input_gets_the_events_of_the_job(
    sandboxed: SandboxedService, receiver: Receiver
) -> None:
    given = {"text_prompt": "x", "replyUrl": receiver.url, "replyRef": "mine"}

    job = await sandboxed.submit("useapi", "frames.create", given)
    await receiver.wait_for(lambda one: one.event["type"] == "job.succeeded")
    (subscription,) = (await sandboxed.get("/v1/subscriptions", kind="per_job"))["data"]
    secret = (await sandboxed.get(f"/v1/subscriptions/{subscription['id']}/secret"))["secret"]

    assert (receiver.types[0], receiver.types[-1]) == ("job.queued", "job.succeeded")
    assert {one.event["data"]["id"] for one in receiver.received} == {job["id"]}
    assert {one.event["data"]["reply_ref"] for one in receiver.received} == {"mine"}
    for webhook in receiver.received:
        webhook.verify(secret)


async def test_a_task_uuid_in_the_input_is_returned_and_not_sent(
    sandboxed: SandboxedService,
) -> None:
    uuid = "f0a5574f-d653-47f1-ab42-e2c1631f1a47"

    job = await sandboxed.submit("runware", "imageCaption", {**CAPTION, "taskUUID": uuid})
    ended = await sandboxed.ended(job["id"])
    found = await sandboxed.get("/v1/jobs", ref=uuid)
    sent = [task["ref"] for task in (await sandboxed.ledger())["tasks"]]

    assert (ended["reply_ref"], ended["status"]) == (uuid, "succeeded")
    assert sent == [ended["ref"]] != [uuid]
    assert [one["id"] for one in found["data"]] == [job["id"]]


async def test_a_task_of_somebody_else_with_the_clients_uuid_is_not_taken_for_the_job(
    sandboxed: SandboxedService,
) -> None:
    """A conflict of taskUUIDs can only mean that an earlier submit of the job has arrived."""
    uuid = "f0a5574f-d653-47f1-ab42-e2c1631f1a47"
    foreign = {**CAPTION, "taskType": "imageCaption", "taskUUID": uuid}
    async with plain_client(authorization="Bearer sandbox") as client:
        answer = await client.post(f"{sandboxed.sandbox}/v1", json=[foreign])

    job = await sandboxed.submit("runware", "imageCaption", {**CAPTION, "taskUUID": uuid})
    ended = await sandboxed.ended(job["id"])
    events = (await sandboxed.get(f"/v1/jobs/{job['id']}/events"))["data"]
    tasks = [task["ref"] for task in (await sandboxed.ledger())["tasks"]]

    assert answer.status_code == 200
    assert ended["status"] == "succeeded"
    assert tasks == [uuid, ended["ref"]]
    assert UUID(ended["ref"]).version == 4
    assert {event["data"]["reply_ref"] for event in events} == {uuid}


async def test_the_next_job_is_sent_as_soon_as_a_slot_is_free(sandboxed: SandboxedService) -> None:
    given = {"text_prompt": "x", "maxJobs": 1}

    jobs = [await sandboxed.submit("useapi", "frames.create", given) for _ in range(3)]
    async with asyncio.timeout(8):
        ended = await asyncio.gather(*(sandboxed.ended(job["id"]) for job in jobs))

    assert [job["status"] for job in ended] == ["succeeded"] * 3
    ledger = await sandboxed.ledger()
    assert len(ledger["tasks"]) == 3


async def test_every_runway_ai_operation_succeeds(sandboxed: SandboxedService) -> None:
    given: dict[str, Json] = {
        "generate-image": {"prompt": "x", "style": "sketch"},
        "generate-video": {"prompt": "x", "duration": 3},
    }
    made = [await sandboxed.submit("runway_ai", name, one) for name, one in given.items()]
    image, video, media = [
        (await sandboxed.ended(job["id"]))["output"]["artifacts"][0]["url"]
        for job in (*made, await sandboxed.submit("runway_ai", "generate-image", {"prompt": "y"}))
    ]
    given |= {
        "edit-image": {"image_url": image, "edit_type": "resize", "resize_width": 20},
        "edit-video": {"video_url": video, "edit_type": "trim", "start_time": 0, "end_time": 2},
        "video-filter": {"video_url": video, "filter": "vintage"},
        "image-metadata": {"image_url": image},
        "video-metadata": {"video_url": video},
        "image-to-video": {"image_url": image, "duration": 3},
        "add-text-to-image": {"image_url": image, "text": "t", "position": "top-left"},
        "style-transfer": {"image_url": image, "style_reference": image},
        "resize-video": {"video_url": video, "new_width": 64, "new_height": 32},
        "generate-thumbnail": {"video_url": video},
        "extract-audio": {"video_url": video},
        "speed-adjust": {"video_url": video, "speed_factor": 2},
        "delete-media": {"media_url": media, "auth_token": "t"},
    }

    jobs = [await sandboxed.submit("runway_ai", name, one) for name, one in given.items()]
    ended = await asyncio.gather(*(sandboxed.ended(job["id"]) for job in jobs))

    assert {job["operation"] for job in ended if job["status"] == "succeeded"} == set(given)
