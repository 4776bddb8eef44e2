"""The process is taken away in the middle of everything; what was promised still happens."""

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
    """End a useapi job as its provider would."""
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


async def test_what_was_committed_is_delivered_after_a_kill(
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
        told = receiver.received

    assert {one.headers["webhook-id"] for one in told} == {told[-1].event["id"]}
    assert told[-1].event["data"]["id"] == job["id"]
    told[-1].verify(subscription["secret"])


async def delivered(service: ServiceProcess) -> bool:
    return [d["status"] for d in await service.deliveries()] == ["delivered"]


async def test_a_kill_between_the_post_and_its_settlement_sends_the_same_id_again(
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


async def put_back(service: ServiceProcess, job_id: str) -> bool:
    """Whether it is in the queue again: its provider could not be reached."""
    job = await service.job(job_id)
    return bool(job["status"] == "queued" and job["version"] >= 3)


async def test_an_accepted_job_is_sent_after_a_kill(database_url: str, tmp_path: Path) -> None:
    async with (
        serving(create_sandbox(pace=PACE)) as sandbox,
        a_process(database_url, tmp_path) as service,
    ):
        job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
        await eventually(lambda: put_back(service, job["id"]))
        await service.kill()

        service.set_environment(**providers_at(sandbox))
        await service.start()
        ended = await service.ended(job["id"])

    assert ended["status"] == "succeeded"


async def test_a_kill_while_submitting_makes_no_second_paid_task(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        serving(create_sandbox(pace=0.5)) as sandbox,
        a_process(database_url, tmp_path, **providers_at(sandbox)) as service,
    ):
        job = await service.submit("useapi", "frames.create", {"text_prompt": "x [hang]"})
        await eventually(lambda: paid(sandbox))
        await service.kill()
        await service.start()
        ended = await service.ended(job["id"])
        tasks = await paid(sandbox)

    assert ended["status"] == "succeeded"
    assert len(tasks) == 1


async def paid(sandbox: str) -> list[object]:
    async with httpx.AsyncClient() as client:
        ledger = (await client.get(f"{sandbox}/ledger")).json()
    return [task for task in ledger["tasks"] if task["paid"]]


async def the_job(service: ServiceProcess) -> str:
    (job,) = (await service.get("/v1/jobs"))["data"]
    return str(job["id"])


POINTS = (
    *("it had connected", "the request arrived", "the task was made"),
    *("half an answer was out", "it was answered", "the answer was on disk"),
)
MADE = POINTS[2:]


@pytest.mark.parametrize("point", POINTS)
async def test_wherever_a_submit_is_cut_off_one_task_is_made_at_most_and_the_job_ends(
    point: str, sqlite_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    made: list[dict[str, str]] = []
    answer = b'{"taskId":"user:1-runwayml:me@example.com-task:1","status":"PENDING"}'
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer)

    async def cut_off(conversation: Conversation) -> None:
        if point in MADE:
            made.append(conversation.received.json)
        if point == "half an answer was out":
            await conversation.send(head + answer[:20])
        elif point in ("it was answered", "the answer was on disk"):
            await conversation.send(head + answer)
        if point == "the answer was on disk":
            await service.reached(await the_job(service), "submitted")
        await service.kill()

    env = providers_at(receiver.url.removesuffix(receiver.path))
    receiver.path = ""
    receiver.script = [cut_off] if point != "it had connected" else []
    receiver.otherwise = json_answer(404, {"error": "no such task", "code": 404})
    async with a_process(sqlite_url, tmp_path, **env) as service:
        if point == "it had connected":
            receiver.greet = [service.kill]
        order = {"text_prompt": "x"}
        job = await service.submit("useapi", "frames.create", order, deadline_seconds=3)
        await eventually(service.is_gone)
        await service.start()
        for _ in made:
            assert await call_back(service, job["id"]) == 204
        ended = await service.ended(job["id"])

    posts = [one for one in receiver.received if one.body]
    assert len(posts) <= 1, "a submit that may have arrived is not repeated"
    assert ended["status"] == ("succeeded" if made else "expired")
