"""Callbacks at the URL of a whole account: a secret in a header, and jobs found by task id."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.domain.primitives.timestamps import SECOND
from service.runtime.open_streams import HEARTBEAT_SECONDS
from service.workers.callback_intake import UNMATCHED_GRACE
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, json_answer, receiving
from tests.support.service_harness import (
    VENDOR_KEY,
    Json,
    Service,
    plain_client,
    providers_at,
    running_service,
    sandboxed_service,
)

pytestmark = pytest.mark.anyio

TASK = "a84ae0ea-5a63-4c7c-9c6a-64a9d5ed4f52"
IMAGE = {"id": "i1", "url": "https://cdn.example.com/cat.jpg", "nsfw": False}
COMPLETE = {"id": TASK, "status": "COMPLETE", "images": [IMAGE], "apiDollarCost": "9"}


def callback(generation: Json) -> Json:
    secret = {"key": "k", "webhookCallbackApiKey": VENDOR_KEY}
    return {
        "type": "image_generation.complete",
        "data": {"object": {**generation, "apiKey": secret}},
    }


class Leonardo:
    """A provider that answers submits with the task, once *answered* is set, and lookups too."""

    def __init__(self, receiver: Receiver) -> None:
        self.url = receiver.url.removesuffix(receiver.path)
        self.answered, self.lookups = asyncio.Event(), 0
        self.answered.set()
        self.found: Answer = json_answer(
            200,
            {"generations_by_pk": {"id": TASK, "status": "COMPLETE", "generated_images": [IMAGE]}},
        )
        receiver.otherwise, receiver.path = self._answer, ""

    async def _answer(self, conversation: Conversation) -> None:
        if not conversation.received.body:
            self.lookups += 1
            await self.found(conversation)
            return
        await self.answered.wait()
        job = {"generationId": TASK, "apiCreditCost": 7}
        await json_answer(200, {"sdGenerationJob": job})(conversation)


@pytest.fixture
async def leonardo() -> AsyncIterator[Leonardo]:
    async with receiving() as receiver:
        yield Leonardo(receiver)


@pytest.fixture
async def service(
    database_url: str, leonardo: Leonardo, clock: MovableClock
) -> AsyncIterator[Service]:
    env = providers_at(leonardo.url)
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        yield service


async def call_back(service: Service, body: Json, key: str | None = VENDOR_KEY) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with plain_client(**headers) as client:
        return (await client.post(f"{service.url}/callbacks/leonardo", json=body)).status_code


async def verdict_count(service: Service, verdict: str) -> float:
    lines = (await service.http.get("/metrics")).text.splitlines()
    name = f'belfry_callbacks_total{{provider="leonardo",verdict="{verdict}"}} '
    return next((float(line[len(name) :]) for line in lines if line.startswith(name)), 0)


async def submitted(service: Service) -> Json:
    job = await service.submit("leonardo", "generations.create", {"prompt": "a cat"})
    return await service.reached(job["id"], "submitted")


async def test_a_callback_finds_its_job_by_the_id_of_the_task(service: Service) -> None:
    job = await submitted(service)

    answer = await call_back(service, callback(COMPLETE))
    ended = await service.job(job["id"])
    (stored,) = (await service.get("/v1/callbacks", job=job["id"]))["data"]
    shown = await service.get(f"/v1/callbacks/{stored['id']}")

    assert answer == 204
    assert ended["status"] == "succeeded"
    assert ended["output"]["artifacts"][0]["url"] == IMAGE["url"]
    assert stored["verdict"] == "accepted"
    assert VENDOR_KEY not in str(shown)
    assert "authorization" not in shown["headers"]


@pytest.mark.parametrize("key", [None, "x", "wrong-key-of-the-tests-0123456789abcdef"])
async def test_a_callback_without_the_secret_is_refused(key: str | None, service: Service) -> None:
    job = await submitted(service)
    before = await verdict_count(service, "forged")

    answer = await call_back(service, callback(COMPLETE), key)

    assert answer == 404
    assert await verdict_count(service, "forged") == before + 1
    assert (await service.job(job["id"]))["status"] == "submitted"
    assert (await service.get("/v1/callbacks"))["data"] == []


async def test_the_url_of_an_account_does_not_exist_where_the_provider_has_none(
    service: Service,
) -> None:
    async with plain_client(authorization=f"Bearer {VENDOR_KEY}") as client:
        answers = [
            (await client.post(f"{service.url}/callbacks/{path}", json={})).status_code
            for path in ("useapi", "useapi/", "runway", "nobody", "leonardo/x", "")
        ]

    assert set(answers) == {404}


async def test_a_callback_about_another_task_of_the_account_is_ignored(service: Service) -> None:
    job = await submitted(service)
    before = await verdict_count(service, "unmatched")

    answer = await call_back(service, callback({**COMPLETE, "id": "another"}))

    assert answer == 204
    assert await verdict_count(service, "unmatched") == before + 1
    assert (await service.job(job["id"]))["status"] == "submitted"


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"object": {"status": "?"}}}, []])
async def test_a_body_that_names_no_task_is_unreadable(body: Json, service: Service) -> None:
    assert await call_back(service, body) == 400


async def test_a_callback_before_the_answer_to_the_submit_is_settled_by_one_lookup(
    service: Service, leonardo: Leonardo, clock: MovableClock
) -> None:
    leonardo.answered.clear()
    job = await service.submit("leonardo", "generations.create", {"prompt": "a cat"})
    await service.reached(job["id"], "submitting")

    answer = await call_back(service, callback(COMPLETE))
    leonardo.answered.set()
    await service.reached(job["id"], "submitted")
    clock.advance(UNMATCHED_GRACE + SECOND)
    ended = await service.ended(job["id"])

    assert (answer, ended["status"], leonardo.lookups) == (204, "succeeded", 1)


async def test_a_repeated_callback_is_counted(service: Service) -> None:
    job = await submitted(service)

    answers = [await call_back(service, callback(COMPLETE)) for _ in range(3)]
    (stored,) = (await service.get("/v1/callbacks", job=job["id"]))["data"]

    assert answers == [204, 204, 204]
    assert stored["repeats"] == 2


async def test_a_job_runs_from_submit_to_its_end_in_the_sandbox(
    sqlite_url: str, clock: MovableClock
) -> None:
    async with sandboxed_service(sqlite_url, clock) as sandboxed:
        async with plain_client(authorization="Bearer sandbox") as client:
            webhook = {"url": f"{sandboxed.url}/callbacks/leonardo", "key": VENDOR_KEY}
            await client.put(f"{sandboxed.sandbox}/leonardo/webhook", json=webhook)
        prompts = ("a cat", "a cat [forged]", "a cat [moderated]", "a cat [fail]", "a cat [empty]")
        jobs = [
            await sandboxed.submit("leonardo", "generations.create", {"prompt": prompt})
            for prompt in prompts
        ]
        for job in jobs:
            await sandboxed.reached(job["id"], "submitted", "succeeded", "failed")
        clock.advance(UNMATCHED_GRACE + SECOND)  # a callback may have overtaken its answer
        ended = [await sandboxed.ended(job["id"]) for job in jobs]

    codes = [job["error"] and job["error"]["code"] for job in ended]
    assert codes == [None, None, "moderated", "provider_error", "no_output"]
    urls = [file["url"] for job in ended if job["output"] for file in job["output"]["artifacts"]]
    assert not any("forged" in url for url in urls)


async def test_a_callback_before_the_answer_is_asked_for_again_where_lookups_are_off(
    sqlite_url: str, leonardo: Leonardo
) -> None:
    env = {**providers_at(leonardo.url), "BELFRY_RECONCILE": "off"}
    async with running_service(sqlite_url, **env) as service:
        leonardo.answered.clear()
        job = await service.submit("leonardo", "generations.create", {"prompt": "a cat"})
        await service.reached(job["id"], "submitting")
        early = await call_back(service, callback(COMPLETE))
        leonardo.answered.set()
        await service.reached(job["id"], "submitted")
        again = await call_back(service, callback(COMPLETE))
        ended = await service.ended(job["id"])

    assert (early, again, ended["status"]) == (503, 204, "succeeded")
    assert leonardo.lookups == 0
