"""The reconciler: when a provider is asked about a job, and what the answer changes."""

from collections.abc import AsyncIterator

import pytest

from service.domain.jobs.job import ReconcileReason
from service.runtime.open_streams import HEARTBEAT_SECONDS
from service.transactions.reconciliation import RETRY_PAUSE
from service.transactions.submit_outcome import ANSWER_GRACE
from tests.support.job_steps import submit_job
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, json_answer, receiving, status
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
SHORT_DEADLINE = {"deadline_seconds": 1}
REASONS = ("overdue", "answer_lost", "mismatched", "unreadable", "no_output", "second_end")


class Provider:
    """A fake useapi: answers submissions with *submit* and lookups with *lookup*."""

    def __init__(self, receiver: Receiver) -> None:
        self.url = receiver.url.removesuffix(receiver.path)
        self.lookup: Answer = json_answer(404, {"error": "not found", "code": 404})
        self.submit: Answer = json_answer(200, {"taskId": TASK, "status": "PENDING"})
        self.lookups: list[str] = []
        receiver.otherwise = self._answer
        receiver.path = ""

    async def _answer(self, conversation: Conversation) -> None:
        received = conversation.received
        if received.body:
            await self.submit(conversation)
        else:
            self.lookups.append(received.path)
            await self.lookup(conversation)


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


async def count_lookups(service: Service, reason: str) -> float:
    """The metric of lookups for *reason*."""
    lines = (await service.http.get("/metrics")).text.splitlines()
    name = f'belfry_provider_reads_total{{reason="{reason}"}} '
    return next((float(line[len(name) :]) for line in lines if line.startswith(name)), 0)


async def settled_callback(service: Service) -> Json:
    """Wait until the only quarantined callback is settled."""

    async def look() -> Json | None:
        (callback,) = (await service.get("/v1/callbacks", quarantined="true"))["data"]
        return callback if callback["settled_at"] else None

    return dict(await eventually(look))


async def test_an_overdue_job_gets_the_result_of_a_lookup(
    service: Service, provider: Provider
) -> None:
    provider.lookup = json_answer(200, {"taskId": TASK, **DONE})
    before = await count_lookups(service, "overdue")

    job = await submit_job(service, **SHORT_DEADLINE)
    ended = await service.ended(job["id"])

    assert ended["status"] == "succeeded"
    assert ended["output"]["artifacts"][0]["url"] == MEDIA[0]["url"]
    assert len(provider.lookups) == 1
    assert await count_lookups(service, "overdue") == before + 1


@pytest.mark.parametrize("code", [404, 410])
async def test_a_job_whose_task_is_not_found_expires(
    code: int, service: Service, provider: Provider
) -> None:
    provider.lookup = json_answer(code, {"error": "Job has expired", "code": code})

    ended = await service.ended((await submit_job(service, **SHORT_DEADLINE))["id"])

    assert (ended["status"], ended["error"]["code"]) == ("expired", "timed_out")
    assert len(provider.lookups) == 1


async def test_a_task_that_is_still_running_extends_the_deadline_once(
    service: Service, provider: Provider
) -> None:
    provider.lookup = json_answer(200, {"taskId": TASK, "status": "RUNNING", "progressRatio": 0.5})

    ended = await service.ended((await submit_job(service, **SHORT_DEADLINE))["id"])

    assert ended["status"] == "expired"
    assert ended["progress"]["ratio"] == 0.5
    assert len(provider.lookups) == 2


async def test_a_lookup_is_retried_when_the_provider_is_down(
    service: Service, provider: Provider, clock: MovableClock
) -> None:
    provider.lookup = status(503)
    job = await submit_job(service, **SHORT_DEADLINE)

    async def postponed() -> bool:
        stored = await service.context.store.jobs.get("default", job["id"])
        return stored.failed_lookups == 1

    await eventually(postponed)
    provider.lookup = json_answer(200, {"taskId": TASK, **DONE})
    clock.advance(RETRY_PAUSE)

    assert (await service.ended(job["id"]))["status"] == "succeeded"
    assert len(provider.lookups) == 2


async def test_no_provider_is_asked_with_reconcile_off(
    database_url: str, provider: Provider
) -> None:
    env = {**providers_at(provider.url), "BELFRY_RECONCILE": "off"}
    async with running_service(database_url, **env) as service:
        ended = await service.ended((await submit_job(service, **SHORT_DEADLINE))["id"])

    assert (ended["status"], provider.lookups) == ("expired", [])


@pytest.mark.parametrize(
    ("body", "status_code", "quarantine"),
    [
        (b"not json", 400, "unreadable"),
        ({"replyRef": "another", "status": "SUCCEEDED"}, 204, "mismatched"),
        ({"status": "SUCCEEDED", "artifacts": []}, 204, "no_output"),
    ],
)
async def test_a_callback_that_contradicts_its_job_is_settled_by_one_lookup(
    body: object, status_code: int, quarantine: str, service: Service, provider: Provider
) -> None:
    provider.lookup = json_answer(200, {"taskId": TASK, **DONE})
    job = await submit_job(service)
    await service.reached(job["id"], "submitted")

    answer = await service.call_back("useapi", job["ref"], body)
    ended = await service.ended(job["id"])
    callback = await settled_callback(service)

    assert answer == status_code
    assert ended["status"] == "succeeded"
    assert callback["quarantine"] == quarantine
    assert "succeeded" in callback["settlement"]
    assert len(provider.lookups) == 1


async def test_a_second_different_result_changes_nothing_and_causes_a_lookup(
    service: Service, provider: Provider
) -> None:
    provider.lookup = json_answer(200, {"taskId": TASK, **DONE})
    job = await submit_job(service)
    await service.reached(job["id"], "submitted")
    await service.call_back("useapi", job["ref"], DONE)

    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "no"})
    callback = await settled_callback(service)

    assert (await service.job(job["id"]))["status"] == "succeeded"
    assert (callback["verdict"], callback["quarantine"]) == ("late", "second_end")


async def test_a_task_whose_answer_was_lost_is_found_in_the_scheduler(
    service: Service, provider: Provider, clock: MovableClock
) -> None:
    provider.submit = status(200, b"<html>")
    job = await submit_job(service)

    async def answer_lost() -> bool:
        stored = await service.context.store.jobs.get("default", job["id"])
        return stored.reconcile_reason is ReconcileReason.ANSWER_LOST

    await eventually(answer_lost)
    provider.lookup = json_answer(200, [{"taskId": TASK, "replyRef": job["ref"]}])
    clock.advance(ANSWER_GRACE)
    found = await service.reached(job["id"], "submitted", "running")

    assert found["provider_task_id"] == TASK
    assert any("scheduler" in path for path in provider.lookups)


async def test_a_stored_callback_can_be_replayed(service: Service, provider: Provider) -> None:
    provider.lookup = json_answer(200, {"taskId": TASK, "status": "PENDING"})
    job = await submit_job(service)
    await service.reached(job["id"], "submitted")
    await service.call_back("useapi", job["ref"], {"replyRef": "another", **DONE})
    callback = await settled_callback(service)

    replayed = await service.post(f"/v1/callbacks/{callback['id']}/replay")

    assert replayed["verdict"] == "mismatched"
    assert "another" in replayed["body"]
    assert (await service.job(job["id"]))["status"] == "submitted"


@pytest.mark.busy_loop(1.0, "the emulated provider sends a thousand callbacks from the same loop")
async def test_no_provider_is_asked_in_normal_operation(sqlite_url: str) -> None:
    async with sandboxed_service(sqlite_url, RUNWARE_MAX_JOBS="1000") as sandboxed:
        before = [await count_lookups(sandboxed, reason) for reason in REASONS]
        for _ in range(10):
            await run_a_hundred_jobs(sandboxed)
        after = [await count_lookups(sandboxed, reason) for reason in REASONS]
        requests = (await sandboxed.ledger())["requests"]

    assert after == before
    assert not [name for name in requests if "getResponse" in name or "getTaskDetails" in name]


async def run_a_hundred_jobs(sandboxed: SandboxedService) -> None:
    caption = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}
    request = {"provider": "runware", "operation": "imageCaption", "input": caption}
    answer = await sandboxed.http.post(
        "/v1/jobs", json=[request] * 100, headers={"prefer": "wait=60"}, timeout=90
    )
    assert answer.status_code == 200, answer.text
    assert {job["status"] for job in answer.json()["data"]} == {"succeeded"}
