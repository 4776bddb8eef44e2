"""The process is killed at various points; all that it acknowledged still happens."""

import asyncio
from pathlib import Path

import httpx
import pytest

from service.domain.security.callback_signer import CallbackSigner
from service.sandbox import create_sandbox
from tests.support.receivers import Conversation, Receiver, hang, held_until, json_answer, status
from tests.support.service_harness import (
    PACE,
    SIGNING_KEY,
    ServiceProcess,
    a_process,
    eventually,
    providers_at,
    serving,
)

pytestmark = pytest.mark.anyio


async def call_back(service: ServiceProcess, job_id: str) -> int:
    """End a useapi job by a callback; returns the status of the response."""
    ref = (await service.job(job_id))["ref"]
    token = CallbackSigner([SIGNING_KEY]).sign("useapi", ref, 1)
    body = {
        "replyRef": ref,
        "status": "SUCCEEDED",
        "artifacts": [{"id": "a", "url": "https://x/1"}],
    }
    async with httpx.AsyncClient() as client:
        url = f"{service.url}/callbacks/useapi/{ref}?t={token}"
        return (await client.post(url, json=body)).status_code


async def test_a_committed_event_is_delivered_after_a_kill(
    sqlite_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.otherwise = hang
    async with a_process(sqlite_url, tmp_path) as service:
        subscription = await service.subscribe(receiver.url)
        job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
        assert await call_back(service, job["id"]) == 204

        await service.kill()
        receiver.otherwise = status(200)
        await service.start()
        await eventually(lambda: delivered(service))
        webhooks = receiver.received

    assert {one.headers["webhook-id"] for one in webhooks} == {webhooks[-1].event["id"]}
    assert webhooks[-1].event["data"]["id"] == job["id"]
    webhooks[-1].verify(subscription["secret"])


async def delivered(service: ServiceProcess) -> bool:
    return [d["status"] for d in await service.deliveries()] == ["delivered"]


async def test_a_webhook_whose_attempt_was_not_recorded_is_sent_again_with_the_same_id(
    sqlite_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.script = [held_until(gate)]
    async with a_process(sqlite_url, tmp_path) as service:
        await service.subscribe(receiver.url)
        job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
        await call_back(service, job["id"])
        await receiver.wait(1)

        await service.kill()
        gate.set()
        await service.start()
        first, second = (await receiver.wait(2))[:2]
        await eventually(lambda: delivered(service))

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


async def requeued(service: ServiceProcess, job_id: str) -> bool:
    """Whether the job is queued again, because its provider could not be reached."""
    job = await service.job(job_id)
    return bool(job["status"] == "queued" and job["version"] >= 3)


async def test_an_accepted_job_is_submitted_after_a_kill(database_url: str, tmp_path: Path) -> None:
    async with (
        serving(create_sandbox(pace=PACE)) as sandbox,
        a_process(database_url, tmp_path) as service,
    ):
        job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
        await eventually(lambda: requeued(service, job["id"]))
        await service.kill()

        service.set_environment(**providers_at(sandbox))
        await service.start()
        ended = await service.ended(job["id"])

    assert ended["status"] == "succeeded"


async def test_a_kill_during_a_submit_causes_no_second_paid_task(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        serving(create_sandbox(pace=0.5)) as sandbox,
        a_process(database_url, tmp_path, **providers_at(sandbox)) as service,
    ):
        job = await service.submit("useapi", "frames.create", {"text_prompt": "x [hang]"})
        await eventually(lambda: paid_tasks(sandbox))
        await service.kill()
        await service.start()
        ended = await service.ended(job["id"])
        tasks = await paid_tasks(sandbox)

    assert ended["status"] == "succeeded"
    assert len(tasks) == 1


async def paid_tasks(sandbox: str) -> list[object]:
    async with httpx.AsyncClient() as client:
        ledger = (await client.get(f"{sandbox}/ledger")).json()
    return [task for task in ledger["tasks"] if task["paid"]]


async def only_job_id(service: ServiceProcess) -> str:
    (job,) = (await service.get("/v1/jobs"))["data"]
    return str(job["id"])


POINTS = (
    "connected",
    "request received",
    "task created",
    "half of the response sent",
    "response sent",
    "response stored",
)
"""When the service is killed during a submit."""
WITH_TASK = POINTS[2:]


@pytest.mark.parametrize("point", POINTS)
async def test_a_submit_interrupted_at_any_point_creates_at_most_one_task_and_the_job_ends(
    point: str, sqlite_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    tasks: list[dict[str, str]] = []
    answer = b'{"taskId":"user:1-runwayml:me@example.com-task:1","status":"PENDING"}'
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer)

    async def kill_at_point(conversation: Conversation) -> None:
        if point in WITH_TASK:
            tasks.append(conversation.received.json)
        if point == "half of the response sent":
            await conversation.send(head + answer[:20])
        elif point in ("response sent", "response stored"):
            await conversation.send(head + answer)
        if point == "response stored":
            await service.reached(await only_job_id(service), "submitted")
        await service.kill()

    env = providers_at(receiver.url.removesuffix(receiver.path))
    receiver.path = ""
    receiver.script = [kill_at_point] if point != "connected" else []
    receiver.otherwise = json_answer(404, {"error": "no such task", "code": 404})
    async with a_process(sqlite_url, tmp_path, **env) as service:
        if point == "connected":
            receiver.greet = [service.kill]
        given = {"text_prompt": "x"}
        job = await service.submit("useapi", "frames.create", given, deadline_seconds=3)
        await eventually(service.is_gone)
        await service.start()
        for _ in tasks:
            assert await call_back(service, job["id"]) == 204
        ended = await service.ended(job["id"])

    submits = [request for request in receiver.received if request.body]
    assert len(submits) <= 1, "a submit that may have arrived is not repeated"
    assert ended["status"] == ("succeeded" if tasks else "expired")
