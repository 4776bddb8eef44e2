"""Providers without callbacks: polled only where the operator allows it, at growing intervals."""

from collections.abc import AsyncIterator

import pytest

from service.domain.primitives.timestamps import SECOND
from service.providers.runway.provider import POLL_SECONDS
from service.runtime.open_streams import HEARTBEAT_SECONDS
from tests.support.databases import sqlite_file
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, json_answer, receiving, status
from tests.support.service_harness import (
    Json,
    Service,
    eventually,
    providers_at,
    running_service,
    sandboxed_service,
)

pytestmark = pytest.mark.anyio

TASK = "17f20503-6c24-4c16-946b-35dbbce2af2f"
IMAGE = {"model": "gen4_image", "promptText": "a bell tower", "ratio": "1360:768"}
DONE = {"id": TASK, "status": "SUCCEEDED", "output": ["https://runway.example.com/1.png?_jwt=x"]}
RUNNING = {"id": TASK, "status": "RUNNING", "progress": 0.4}


class Runway:
    """A provider that answers submits with a task, and reads of the task with *task*."""

    def __init__(self, receiver: Receiver) -> None:
        self.url = receiver.url.removesuffix(receiver.path)
        self.task: Answer = json_answer(200, RUNNING)
        self.reads = 0
        receiver.otherwise, receiver.path = self._answer, ""

    async def _answer(self, conversation: Conversation) -> None:
        if conversation.received.body:
            await json_answer(200, {"id": TASK})(conversation)
        else:
            self.reads += 1
            await self.task(conversation)


@pytest.fixture
async def runway() -> AsyncIterator[Runway]:
    async with receiving() as receiver:
        yield Runway(receiver)


@pytest.fixture
async def service(database_url: str, runway: Runway, clock: MovableClock) -> AsyncIterator[Service]:
    clock.stop()
    env = {**providers_at(runway.url), "BELFRY_POLL": "runway", "BELFRY_RECONCILE": "off"}
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        yield service


async def submitted(service: Service, **more: object) -> Json:
    job = await service.submit("runway", "text_to_image", IMAGE, **more)
    return await service.reached(job["id"], "submitted")


async def read_times(service: Service, runway: Runway, count: int) -> None:
    """Wait until the task was read *count* times, and the next read is scheduled."""

    async def look() -> bool:
        clock, store = service.context.clock, service.context.store
        next_check = await store.jobs.next_check(clock())
        return runway.reads == count and next_check is not None and next_check > clock()

    await eventually(look)


async def count_polls(service: Service) -> float:
    lines = (await service.http.get("/metrics")).text.splitlines()
    name = 'belfry_provider_reads_total{reason="poll"} '
    return next((float(line[len(name) :]) for line in lines if line.startswith(name)), 0)


async def test_a_job_of_a_provider_without_callbacks_is_refused_unless_polling_is_allowed(
    service: Service, runway: Runway
) -> None:
    request = {"provider": "runway", "operation": "text_to_image", "input": IMAGE}
    with sqlite_file() as url:
        async with running_service(url, **providers_at(runway.url)) as other:
            refused = await other.http.post("/v1/jobs", json=request)
    allowed = await service.http.post("/v1/jobs", json=request)

    assert (refused.status_code, allowed.status_code) == (422, 202)
    assert refused.json()["code"] == "polling_off"
    assert "BELFRY_POLL=runway" in refused.json()["errors"][0]["message"]


async def test_a_polled_job_gets_its_state_and_its_result(
    service: Service, runway: Runway, clock: MovableClock
) -> None:
    before = await count_polls(service)
    job = await submitted(service)
    clock.advance(int(POLL_SECONDS * SECOND))
    running = await service.reached(job["id"], "running")
    runway.task = json_answer(200, DONE)
    clock.advance(int(1.5 * POLL_SECONDS * SECOND))
    ended = await service.ended(job["id"])

    assert running["progress"]["ratio"] == 0.4
    assert (ended["status"], ended["output"]["artifacts"][0]["kind"]) == ("succeeded", "image")
    assert runway.reads == 2
    assert await count_polls(service) == before + 2


async def test_the_interval_between_two_reads_grows(
    service: Service, runway: Runway, clock: MovableClock
) -> None:
    job = await submitted(service)
    clock.advance(int(POLL_SECONDS * SECOND))
    await read_times(service, runway, 1)
    await service.reached(job["id"], "running")
    clock.advance(int(POLL_SECONDS * SECOND))
    other = await submitted(service)  # it is due first: the loop has looked at both then
    clock.advance(int(1.4 * POLL_SECONDS * SECOND) - int(POLL_SECONDS * SECOND))

    assert runway.reads == 1
    clock.advance(int(0.2 * POLL_SECONDS * SECOND))
    await read_times(service, runway, 2)
    assert other["status"] == "submitted"


async def test_a_read_that_fails_is_repeated_until_the_deadline(
    service: Service, runway: Runway, clock: MovableClock
) -> None:
    runway.task = status(503)
    job = await submitted(service, deadline_seconds=300)
    for count in range(1, 5):
        clock.advance(60 * SECOND)
        await read_times(service, runway, count)
    clock.advance(60 * SECOND)
    ended = await service.ended(job["id"])

    assert (ended["status"], ended["error"]["code"]) == ("expired", "timed_out")


async def test_a_task_that_still_runs_at_the_deadline_is_polled_during_the_extension(
    service: Service, runway: Runway, clock: MovableClock
) -> None:
    job = await submitted(service, deadline_seconds=10)
    clock.advance(10 * SECOND)
    await read_times(service, runway, 1)
    await service.reached(job["id"], "running")
    runway.task = json_answer(200, DONE)
    clock.advance(15 * SECOND)

    assert (await service.ended(job["id"]))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("prompt", "code"),
    [("a bell [moderated]", "moderated"), ("a bell [fail]", "provider_error"),
     ("a bell [empty]", "no_output")],
)  # fmt: skip
async def test_a_job_runs_from_submit_to_its_end_in_the_sandbox(
    prompt: str, code: str, sqlite_url: str
) -> None:
    clock = MovableClock()
    async with sandboxed_service(sqlite_url, clock, BELFRY_POLL="runway") as sandboxed:
        good = await sandboxed.submit("runway", "text_to_image", IMAGE)
        bad = await sandboxed.submit("runway", "text_to_image", {**IMAGE, "promptText": prompt})
        for job in (good, bad):
            await sandboxed.reached(job["id"], "submitted")
        clock.advance(int(POLL_SECONDS * SECOND))
        succeeded = await sandboxed.ended(good["id"])
        failed = await sandboxed.ended(bad["id"])

    assert succeeded["status"] == "succeeded"
    assert (failed["status"], failed["error"]["code"]) == ("failed", code)
