"""One read settles a doubt; without a doubt nobody is asked anything."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.domain.jobs.job import ReconcileReason
from service.runtime.open_streams import HEARTBEAT_SECONDS
from service.transactions.reconciliation import RETRY_PAUSE
from service.transactions.submit_outcome import ANSWER_GRACE
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, receiving, said, status
from tests.support.service_harness import (
    Json,
    SandboxedService,
    Service,
    eventually,
    providers_at,
    running_service,
    sandboxed_service,
)

pytestmark = pytest.mark.anyio

TASK = "user:1-runwayml:me@example.com-task:5788104a-1ca7-4b7e-8a16-b27b57e86f87"
MEDIA = [{"id": "a", "url": "https://example.com/1.png"}]
DONE = {"status": "SUCCEEDED", "artifacts": MEDIA}
LATE = {"deadline_seconds": 1}


class Provider:
    """useapi, played: takes every task, and answers each read with *read*."""

    def __init__(self, receiver: Receiver) -> None:
        self.url = receiver.url.removesuffix(receiver.path)
        self.read: Answer = said(404, {"error": "not found", "code": 404})
        self.submit: Answer = said(200, {"taskId": TASK, "status": "PENDING"})
        self.reads: list[str] = []
        receiver.otherwise = self._answer
        receiver.path = ""

    async def _answer(self, conversation: Conversation) -> None:
        received = conversation.received
        if received.body:
            await self.submit(conversation)
        else:
            self.reads.append(received.path)
            await self.read(conversation)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with receiving() as receiver:
        yield Provider(receiver)


@pytest.fixture
async def service(
    database_url: str, provider: Provider, clock: MovableClock
) -> AsyncIterator[Service]:
    env = providers_at(provider.url)
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        yield service


async def submit(service: Service, **more: object) -> Json:
    return await service.submit("useapi", "frames.create", {"text_prompt": "x"}, **more)


async def counted(service: Service, reason: str) -> float:
    lines = (await service.http.get("/metrics")).text.splitlines()
    name = f'belfry_provider_reads_total{{reason="{reason}"}} '
    return next((float(line[len(name) :]) for line in lines if line.startswith(name)), 0)


async def settled(service: Service) -> Json:
    """Wait until the one quarantined callback is settled."""

    async def look() -> Json | None:
        (callback,) = (await service.get("/v1/callbacks", quarantined="true"))["data"]
        return callback if callback["settled_at"] else None

    return dict(await eventually(look))


async def test_an_overdue_job_ends_as_its_provider_says(
    service: Service, provider: Provider
) -> None:
    provider.read = said(200, {"taskId": TASK, **DONE})
    before = await counted(service, "overdue")

    job = await submit(service, **LATE)
    ended = await service.ended(job["id"])

    assert (ended["status"], ended["output"]["artifacts"][0]["url"]) == (
        "succeeded",
        MEDIA[0]["url"],
    )
    assert len(provider.reads) == 1
    assert await counted(service, "overdue") == before + 1


@pytest.mark.parametrize("code", [404, 410])
async def test_a_task_that_is_gone_expires(code: int, service: Service, provider: Provider) -> None:
    provider.read = said(code, {"error": "Job has expired", "code": code})

    ended = await service.ended((await submit(service, **LATE))["id"])

    assert (ended["status"], ended["error"]["code"]) == ("expired", "timed_out")
    assert len(provider.reads) == 1


async def test_a_task_still_at_work_moves_the_deadline_once(
    service: Service, provider: Provider
) -> None:
    provider.read = said(200, {"taskId": TASK, "status": "RUNNING", "progressRatio": 0.5})

    ended = await service.ended((await submit(service, **LATE))["id"])

    assert ended["status"] == "expired"
    assert ended["progress"]["ratio"] == 0.5
    assert len(provider.reads) == 2


async def test_a_provider_that_is_away_is_asked_again_later(
    service: Service, provider: Provider, clock: MovableClock
) -> None:
    provider.read = status(503)
    job = await submit(service, **LATE)

    async def postponed() -> bool:
        stored = await service.context.store.jobs.get("default", job["id"])
        return stored.failed_lookups == 1

    await eventually(postponed)
    provider.read = said(200, {"taskId": TASK, **DONE})
    clock.advance(RETRY_PAUSE)

    assert (await service.ended(job["id"]))["status"] == "succeeded"
    assert len(provider.reads) == 2


async def test_with_reconcile_off_nobody_is_asked(database_url: str, provider: Provider) -> None:
    env = {**providers_at(provider.url), "BELFRY_RECONCILE": "off"}
    async with running_service(database_url, **env) as service:
        ended = await service.ended((await submit(service, **LATE))["id"])

    assert (ended["status"], provider.reads) == ("expired", [])


@pytest.mark.parametrize(
    ("body", "answer", "quarantine"),
    [
        (b"not json", 400, "unreadable"),
        ({"replyRef": "another", "status": "SUCCEEDED"}, 204, "mismatched"),
        ({"status": "SUCCEEDED", "artifacts": []}, 204, "no_output"),
    ],
)
async def test_a_callback_that_contradicts_its_job_is_settled_by_one_read(
    body: object, answer: int, quarantine: str, service: Service, provider: Provider
) -> None:
    provider.read = said(200, {"taskId": TASK, **DONE})
    job = await submit(service)
    await service.reached(job["id"], "submitted")

    answered = await service.call_back("useapi", job["ref"], body)
    ended = await service.ended(job["id"])
    callback = await settled(service)

    assert answered == answer
    assert ended["status"] == "succeeded"
    assert callback["quarantine"] == quarantine
    assert "succeeded" in callback["settlement"]
    assert len(provider.reads) == 1


async def test_a_second_other_end_changes_nothing_and_is_asked_about(
    service: Service, provider: Provider
) -> None:
    provider.read = said(200, {"taskId": TASK, **DONE})
    job = await submit(service)
    await service.reached(job["id"], "submitted")
    await service.call_back("useapi", job["ref"], DONE)

    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "no"})
    callback = await settled(service)

    assert (await service.job(job["id"]))["status"] == "succeeded"
    assert (callback["verdict"], callback["quarantine"]) == ("late", "second_end")


async def test_a_task_whose_answer_was_lost_is_found_in_the_scheduler(
    service: Service, provider: Provider, clock: MovableClock
) -> None:
    provider.submit = status(200, b"<html>")
    job = await submit(service)

    async def answer_lost() -> bool:
        stored = await service.context.store.jobs.get("default", job["id"])
        return stored.reconcile_reason is ReconcileReason.ANSWER_LOST

    await eventually(answer_lost)
    provider.read = said(200, [{"taskId": TASK, "replyRef": job["ref"]}])
    clock.advance(ANSWER_GRACE)
    found = await service.reached(job["id"], "submitted", "running")

    assert found["provider_task_id"] == TASK
    assert any("scheduler" in path for path in provider.reads)


async def test_a_stored_callback_can_be_processed_again(
    service: Service, provider: Provider
) -> None:
    provider.read = said(200, {"taskId": TASK, "status": "PENDING"})
    job = await submit(service)
    await service.reached(job["id"], "submitted")
    await service.call_back("useapi", job["ref"], {"replyRef": "another", **DONE})
    callback = await settled(service)

    again = await service.post(f"/v1/callbacks/{callback['id']}/replay")

    assert (again["verdict"], again["body"]) == ("mismatched", again["body"])
    assert "another" in again["body"]
    assert (await service.job(job["id"]))["status"] == "submitted"


@pytest.mark.busy_loop(1.0, "the emulated provider sends a thousand callbacks from the same loop")
async def test_in_normal_running_nobody_is_asked_anything(sqlite_url: str) -> None:
    async with sandboxed_service(sqlite_url, RUNWARE_MAX_JOBS="1000") as sandboxed:
        before = [await counted(sandboxed, reason) for reason in REASONS]
        await asyncio.gather(*(a_hundred(sandboxed) for _ in range(10)))
        after = [await counted(sandboxed, reason) for reason in REASONS]
        requests = (await sandboxed.ledger())["requests"]

    assert after == before
    assert not [name for name in requests if "getResponse" in name or "getTaskDetails" in name]


REASONS = ("overdue", "answer_lost", "mismatched", "unreadable", "no_output", "second_end")


async def a_hundred(sandboxed: SandboxedService) -> None:
    caption = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}
    order = {"provider": "runware", "operation": "imageCaption", "input": caption}
    answer = await sandboxed.http.post(
        "/v1/jobs", json=[order] * 100, headers={"prefer": "wait=60"}, timeout=90
    )
    assert answer.status_code == 200, answer.text
    assert {job["status"] for job in answer.json()["data"]} == {"succeeded"}
