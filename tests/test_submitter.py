"""Jobs out: what each answer of a provider makes of a job, and who is sent when."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.receivers import Answer, Receiver, hang, reset, status
from tests.running import Json, Service, eventually, free_port, running_service

pytestmark = pytest.mark.anyio

FRAMES = ("useapi", "frames.create", {"text_prompt": "x"})
DESCRIBE = ("useapi", "frames.describe", {"image_assetId": "x"})
PAID = ("runway_ai", "generate-image", {"prompt": "x"})


def told(code: int, body: Json | str, **headers: str) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return status(code, text.encode(), **headers)


TASK = told(200, {"taskId": "user:1-runwayml:a@b.c-task:u", "id": "u", "status": "PENDING"})
BUSY = told(429, {"error": "You have too many tasks running or pending."})
BUSY_ACCOUNT = told(429, {"error": "Account is busy", "runningTasks": {}, "code": 429})


@pytest.fixture
async def provided(database_url: str, receiver: Receiver) -> AsyncIterator[Service]:
    """A service whose three providers are one scripted receiver."""
    base = receiver.url
    receiver.otherwise = TASK
    env = dict.fromkeys(("USEAPI_BASE_URL", "RUNWARE_BASE_URL", "RUNWAY_AI_BASE_URL"), base)
    async with running_service(database_url, USEAPI_MAX_JOBS="1", **env) as service:
        yield service


async def test_the_request_carries_the_signed_url_the_ref_and_the_credential(
    provided: Service, receiver: Receiver
) -> None:
    job = await provided.submit(*FRAMES)

    (sent,) = await receiver.wait()
    submitted = await provided.reached(job["id"], "submitted")

    url = sent.event["replyUrl"]
    assert url.startswith(f"{provided.url}/callbacks/useapi/{job['ref']}?t=")
    assert sent.event["replyRef"] == job["ref"]
    assert sent.headers["authorization"] == "Bearer user:1-sandbox"
    assert submitted["provider_task_id"] == "user:1-runwayml:a@b.c-task:u"


@pytest.mark.parametrize(
    ("code", "body", "outcome"),
    [
        (400, {"error": "bad", "code": 400}, "invalid_input False"),
        (401, {"error": "Unauthorized", "code": 401}, "unauthorized False"),
        (402, {"error": "lapsed"}, "insufficient_credits False"),
        (412, {"error": "no credits"}, "insufficient_credits False"),
        (422, {"error": "moderated"}, "moderated False"),
        (500, "oops", "provider_error True"),
        (596, {"error": "captcha"}, "provider_error False"),
    ],
)
async def test_a_refusal_ends_the_job_in_our_words(
    code: int, body: Json | str, outcome: str, provided: Service, receiver: Receiver
) -> None:
    receiver.script = [told(code, body)]

    job = await provided.submit(*FRAMES)
    error = (await provided.ended(job["id"]))["error"]

    assert f"{error['code']} {error['retryable']}" == outcome
    assert error["stage"] == "submit"


async def test_a_busy_provider_is_asked_again_when_it_said(
    provided: Service, receiver: Receiver
) -> None:
    receiver.script = [
        told(429, {"error": "busy"}, retry_after="1"),
        told(503, "", retry_after="1"),
    ]

    job = await provided.submit(*FRAMES)
    await provided.reached(job["id"], "submitted")

    assert len(receiver.received) == 3
    assert len({sent.event["replyRef"] for sent in receiver.received}) == 1


@pytest.mark.parametrize("busy", [BUSY, BUSY_ACCOUNT], ids=["runway", "account"])
async def test_a_callback_frees_the_slot_and_the_next_job_goes_at_once(
    busy: Answer, database_url: str, receiver: Receiver
) -> None:
    receiver.script, receiver.otherwise = [TASK, busy], TASK
    async with running_service(database_url, USEAPI_BASE_URL=receiver.url) as service:
        first = await service.submit(*FRAMES)
        await service.reached(first["id"], "submitted")
        second = await service.submit(*FRAMES)
        await receiver.wait(2)
        await service.reached(second["id"], "queued")

        async with asyncio.timeout(5):
            await service.call_back("useapi", first["ref"], {"status": "FAILED", "error": "x"})
            await service.reached(second["id"], "submitted")

    assert len(receiver.received) == 3


async def test_no_more_jobs_than_slots_are_under_way(provided: Service, receiver: Receiver) -> None:
    jobs = [await provided.submit(*FRAMES) for _ in range(3)]

    for job in jobs:
        await provided.reached(job["id"], "submitted")
        under_way = (await provided.get("/v1/jobs", status="submitted"))["data"]
        await provided.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})
        assert [one["id"] for one in under_way] == [job["id"]]

    assert len(receiver.received) == 3


async def test_a_provider_that_is_not_there_yet_gets_the_job_when_it_is(
    database_url: str,
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with running_service(database_url, USEAPI_BASE_URL=nowhere) as service:
        job = await service.submit(*FRAMES)

        async def refused() -> bool:
            return bool((await service.job(job["id"]))["version"] > 2)

        await eventually(refused)
        waiting = await service.job(job["id"])

    assert waiting["status"] == "queued"
    assert waiting["error"] is None


@pytest.mark.parametrize("answer", [reset, told(200, "<html>")], ids=["reset", "garbage"])
async def test_a_lost_answer_to_a_paid_request_is_never_sent_again(
    answer: Answer, provided: Service, receiver: Receiver
) -> None:
    receiver.script = [answer, answer]

    awaited = await provided.submit(*FRAMES)
    await receiver.wait(1)
    await provided.call_back("useapi", awaited["ref"], {"status": "RUNNING"})
    by_callback = await provided.job(awaited["id"])
    paid = await provided.ended((await provided.submit(*PAID))["id"])

    assert by_callback["status"] == "running"
    assert paid["status"] == "failed"
    assert paid["error"]["code"] in ("submit_unknown", "provider_error")
    assert len(receiver.received) == 2


async def test_a_request_that_costs_nothing_is_repeated(
    provided: Service, receiver: Receiver
) -> None:
    receiver.script = [reset, told(200, {"prompt": "a lighthouse"})]

    ended = await provided.ended((await provided.submit(*DESCRIBE))["id"])

    assert ended["output"]["text"] == "a lighthouse"


async def test_more_jobs_than_one_claim_takes_are_all_sent(
    database_url: str, receiver: Receiver
) -> None:
    order = {
        "provider": "runway_ai",
        "operation": "image-metadata",
        "input": {"image_url": "https://x/1"},
    }
    receiver.otherwise = told(200, {"image_id": "i", "width": 1})
    env = {"RUNWAY_AI_BASE_URL": receiver.url, "RUNWAY_AI_MAX_JOBS": "300"}
    async with running_service(database_url, **env) as service:
        for _ in range(3):
            await service.post("/v1/jobs", [order] * 80)

        async def all_done() -> bool:
            left = [await service.get("/v1/jobs", status=s) for s in ("queued", "submitting")]
            return not any(page["data"] for page in left)

        await eventually(all_done)

    assert len(receiver.received) == 240


async def test_a_hanging_provider_holds_up_nobody_else(
    provided: Service, receiver: Receiver
) -> None:
    receiver.script = [hang, told(200, {"image_url": "https://x/1.jpg"})]

    await provided.submit(*FRAMES)
    await receiver.wait(1)
    other = await provided.ended((await provided.submit(*PAID))["id"])

    assert other["status"] == "succeeded"
