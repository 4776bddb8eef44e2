"""The submitter: requests to providers, their answers, slots, holds, and lost answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from service.domain.jobs.job import Job, ReconcileReason, Status
from service.domain.jobs.results import ErrorCode
from service.domain.primitives.timestamps import SECOND
from service.domain.security.callback_signer import CallbackSigner
from service.providers.protocol import Answer as ProviderAnswer
from service.providers.protocol import Call, Inconclusive, Provider, ProviderTask, Reply, RetryLater
from service.providers.useapi.provider import UseApi
from service.runtime.clients.provider_client import ProviderChannel, ProviderClient
from service.runtime.clock import SystemIdSource, now
from service.runtime.open_streams import HEARTBEAT_SECONDS
from service.runtime.settings import ProviderAccount
from service.transactions.store_protocols import Store
from service.transactions.submit_outcome import FIRST_PAUSE
from service.transactions.unit_of_work import Transactions
from service.workers.submitter import Submitter, SubmitWakeup
from store import open_store
from tests.support.factories import NO_QUEUES, a_new_job
from tests.support.job_steps import DONE, submit_job
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, hang, json_answer, reset, status
from tests.support.service_harness import (
    Json,
    Service,
    a_process,
    eventually,
    free_port,
    providers_at,
    running_service,
)

pytestmark = pytest.mark.anyio

CAPTION = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}
ACCOUNT_BUSY = {
    "error": "Account me@example.com is busy executing 1 tasks",
    "runningTasks": {"me@example.com": [{"taskId": "other", "replyRef": str(uuid4())}]},
    "code": 429,
}


@pytest.fixture
async def provider(receiver: Receiver) -> Receiver:
    """A fake of all three providers on one port, which never calls back."""
    receiver.otherwise = accept
    return receiver


@pytest.fixture
async def service(
    database_url: str, provider: Receiver, clock: MovableClock
) -> AsyncIterator[Service]:
    env = providers_at(provider.url)
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        yield service


async def accept(conversation: Conversation) -> None:
    """Accept every task, with the response format of its provider."""
    request = conversation.received.json
    if isinstance(request, list):
        tasks = [{"taskType": one["taskType"], "taskUUID": one["taskUUID"]} for one in request]
        await json_answer(200, {"data": tasks})(conversation)
    else:
        task = {"taskId": f"user:1-runwayml:me@example.com-task:{uuid4()}", "status": "PENDING"}
        await json_answer(200, {**task, "artifacts": [], "error": None})(conversation)


async def submit(service: Service, **given: object) -> Json:
    return await service.submit("useapi", "frames.create", {"text_prompt": "x", **given})


async def call_back_done(service: Service, ref: str) -> None:
    assert await service.call_back("useapi", ref, {"replyRef": ref, **DONE}) == 204


async def wait_until_requeued(service: Service, job_id: str) -> Json:
    """Wait until the job was sent and is queued again."""

    async def look() -> Json | None:
        job = await service.job(job_id)
        return job if job["status"] == "queued" and job["version"] >= 3 else None

    return dict(await eventually(look))


async def test_a_job_is_sent_with_the_api_token_its_ref_and_a_signed_callback_url(
    service: Service, provider: Receiver
) -> None:
    job = await submit(service, style="vivid", replyRef="mine")
    (sent,) = await provider.wait()

    body = sent.json
    assert sent.path == f"{provider.path}/v1/runwayml/frames/create"
    assert sent.headers["authorization"] == "Bearer user:1-sandbox"
    assert (body["text_prompt"], body["style"]) == ("x", "vivid")
    assert body["replyRef"] == job["ref"]
    assert body["replyUrl"].startswith(f"{service.url}/callbacks/useapi/{job['ref']}?t=")
    assert len(body["replyUrl"]) <= 1024


async def test_a_job_is_stored_before_it_is_sent(service: Service, provider: Receiver) -> None:
    stored: list[Json] = []

    async def answer(conversation: Conversation) -> None:
        stored.extend((await service.get("/v1/jobs"))["data"])
        await accept(conversation)

    provider.script = [answer]
    job = await submit(service)
    await service.reached(job["id"], "submitted")

    assert [(one["id"], one["status"]) for one in stored] == [(job["id"], "submitting")]


async def test_an_answer_after_the_callback_does_not_reset_the_job(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        await call_back_done(service, conversation.received.json["replyRef"])
        await accept(conversation)

    provider.script = [answer]
    job = await submit(service)
    ended = await service.ended(job["id"])
    raw = await eventually(lambda: read_raw(service, job["id"]))
    events = (await service.get(f"/v1/jobs/{job['id']}/events"))["data"]

    assert ended["status"] == "succeeded"
    assert (await service.job(job["id"]))["status"] == "succeeded"
    assert raw["status"] == "SUCCEEDED"
    assert [one["type"] for one in events] == ["job.succeeded", "job.queued"]


async def read_raw(service: Service, job_id: str) -> Json | None:
    raw = (await service.get(f"/v1/jobs/{job_id}", expand="raw"))["raw"]
    return dict(raw) if raw else None


REJECTIONS: dict[str, tuple[Answer, str, bool]] = {
    "400": (json_answer(400, {"error": "no such style", "code": 400}), "invalid_input", False),
    "403": (json_answer(403, {"error": "forbidden", "code": 403}), "invalid_input", False),
    "404": (json_answer(404, {"error": "not found", "code": 404}), "invalid_input", False),
    "422": (json_answer(422, {"error": "moderated", "code": 422}), "moderated", False),
    "500": (json_answer(500, {"error": "oops", "code": 500}), "provider_error", True),
    "502": (status(502, b"<html>Bad Gateway</html>"), "provider_error", True),
    "a 200 that says 422": (json_answer(200, {"error": "no", "code": 422}), "moderated", False),
}


@pytest.mark.parametrize("name", REJECTIONS)
async def test_a_rejection_fails_the_job_with_its_error(
    name: str, service: Service, provider: Receiver
) -> None:
    answer, code, retryable = REJECTIONS[name]
    provider.script = [answer]

    job = await submit(service)
    error = (await service.ended(job["id"]))["error"]

    assert (error["code"], error["retryable"], error["stage"]) == (code, retryable, "submit")
    assert error["message"]
    assert len(provider.received) == 1


@pytest.mark.parametrize(
    "answer",
    [
        json_answer(429, ACCOUNT_BUSY, retry_after="60"),
        json_answer(
            429, {"error": "You have too many tasks running or pending."}, retry_after="60"
        ),
        json_answer(503, {"error": "down", "code": 503}, retry_after="60"),
        status(504, b"<html>", retry_after="60"),
        status(408, b"", retry_after="60"),
    ],
    ids=["429 by useapi", "429 by Runway", "503", "504", "408"],
)
async def test_a_job_is_sent_again_after_the_retry_after_of_a_busy_provider(
    answer: Answer, service: Service, provider: Receiver, clock: MovableClock
) -> None:
    provider.script = [answer]
    clock.stop()

    job = await submit(service)
    await wait_until_requeued(service, job["id"])
    clock.advance(59 * SECOND)
    given = {"positivePrompt": "x", "model": "runware:101@1"}
    other = await service.submit("runware", "imageInference", given)
    await service.reached(other["id"], "submitted")
    early = await service.job(job["id"])
    clock.advance(SECOND)
    submitted = await service.reached(job["id"], "submitted")

    first, _, second = provider.received
    assert early["status"] == "queued"
    assert first.body == second.body
    assert submitted["error"] is None


@pytest.mark.parametrize(
    "answer",
    [
        json_answer(429, ACCOUNT_BUSY),
        json_answer(429, {"error": "You have too many tasks running or pending."}),
        json_answer(503, {"error": "down", "code": 503}),
    ],
    ids=["429 by useapi", "429 by Runway", "503"],
)
async def test_a_job_is_sent_again_when_a_job_of_a_busy_provider_has_ended(
    answer: Answer, service: Service, provider: Receiver, clock: MovableClock
) -> None:
    clock.stop()
    first = await submit(service)
    await service.reached(first["id"], "submitted")
    provider.script = [answer]
    second = await submit(service)
    await wait_until_requeued(service, second["id"])

    await call_back_done(service, first["ref"])
    await service.reached(second["id"], "submitted")

    assert len(provider.received) == 3


async def test_a_job_stays_queued_if_its_provider_is_unreachable(database_url: str) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}"
    async with running_service(database_url, **providers_at(unreachable)) as service:
        job = await submit(service)

        waiting = await wait_until_requeued(service, job["id"])

    assert (waiting["error"], waiting["submitted_at"]) == (None, None)


async def test_a_task_that_a_429_lists_as_running_is_not_sent_again(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        running = {"taskId": "user:1-runwayml:me@example.com-task:x"}
        running["replyRef"] = conversation.received.json["replyRef"]
        body = {**ACCOUNT_BUSY, "runningTasks": {"me@example.com": [running]}}
        await json_answer(429, body)(conversation)

    provider.script = [answer]
    job = await submit(service)
    submitted = await service.reached(job["id"], "submitted")

    assert submitted["provider_task_id"].endswith("task:x")
    assert len(provider.received) == 1


@pytest.mark.parametrize(
    "answer",
    [reset, status(200, b"<html>Welcome</html>"), status(200, b""), json_answer(200, [])],
    ids=["no answer", "HTML", "empty", "a list"],
)
async def test_a_paid_job_with_a_lost_answer_waits_for_its_callback_and_is_sent_once(
    answer: Answer, service: Service, provider: Receiver
) -> None:
    provider.script = [answer]
    job = await submit(service)
    await service.reached(job["id"], "submitting")
    await provider.wait()
    other = await submit(service)
    await service.reached(other["id"], "submitted")

    await call_back_done(service, job["ref"])
    ended = await service.ended(job["id"])

    assert ended["status"] == "succeeded"
    refs = [sent.json["replyRef"] for sent in provider.received]
    assert refs == [job["ref"], other["ref"]]


async def test_a_repeated_runware_task_that_is_known_already_counts_as_submitted(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        uuid = conversation.received.json[0]["taskUUID"]
        known = {"code": "conflictTaskUUID", "message": "known", "taskUUID": uuid}
        await json_answer(400, {"errors": [known]})(conversation)

    provider.script = [reset, answer]
    job = await service.submit("runware", "imageCaption", CAPTION)
    submitted = await service.reached(job["id"], "submitted")

    assert submitted["error"] is None
    assert [sent.json[0]["taskUUID"] for sent in provider.received] == [job["ref"]] * 2


def image_of(ref: str, number: int) -> Json:
    url = f"https://im.runware.ai/{number}.jpg"
    image = {"taskType": "imageInference", "taskUUID": ref, "imageUUID": str(uuid4())}
    return {**image, "imageURL": url, "cost": 0.5}


@pytest.mark.parametrize("in_answer", [1, 2])
async def test_a_task_whose_results_come_with_the_answer_is_sent_once(
    in_answer: int, service: Service, provider: Receiver, clock: MovableClock
) -> None:
    async def answer(conversation: Conversation) -> None:
        uuid = conversation.received.json[0]["taskUUID"]
        images = [image_of(uuid, number) for number in range(in_answer)]
        await json_answer(200, {"data": images})(conversation)

    provider.script = [answer]
    given = {"positivePrompt": "x", "model": "runware:101@1", "numberResults": 2}
    job = await service.submit("runware", "imageInference", given)
    answered = await service.reached(job["id"], "submitted", "succeeded")
    clock.advance(600 * SECOND)  # the lease of the submit has ended
    other = await submit(service)
    await service.reached(other["id"], "submitted")
    if answered["status"] == "submitted":
        await service.call_back("runware", job["ref"], image_of(job["ref"], 1))
    ended = await service.ended(job["id"])

    assert (ended["status"], ended["cost_usd"]) == ("succeeded", 1)
    assert len(ended["output"]["artifacts"]) == 2
    requests = [sent.json for sent in provider.received]
    assert len([request for request in requests if isinstance(request, list)]) == 1


async def test_a_request_with_a_lost_answer_is_repeated_after_a_pause(
    service: Service, provider: Receiver, clock: MovableClock
) -> None:
    provider.script = [reset]
    clock.stop()

    job = await service.submit("runware", "imageCaption", CAPTION)
    await wait_until_requeued(service, job["id"])
    clock.advance(SECOND)
    other = await submit(service)
    await service.reached(other["id"], "submitted")
    early = await service.job(job["id"])
    clock.advance(SECOND)
    await service.reached(job["id"], "submitted")

    first, _, second = provider.received
    assert early["status"] == "queued"
    assert first.body == second.body


async def test_a_lost_answer_fails_a_job_that_can_be_neither_repeated_nor_called_back(
    service: Service, provider: Receiver
) -> None:
    provider.script = [reset]

    job = await service.submit("runway_ai", "generate-image", {"prompt": "x"})
    error = (await service.ended(job["id"]))["error"]

    assert (error["code"], error["stage"]) == ("submit_unknown", "submit")
    assert len(provider.received) == 1


async def test_a_free_operation_is_repeated_after_a_lost_answer(
    service: Service, provider: Receiver
) -> None:
    provider.script = [reset, json_answer(200, {"prompt": "Subject: a bell."})]

    job = await service.submit("useapi", "frames.describe", {"image_assetId": "a"})
    ended = await service.ended(job["id"])

    assert (ended["status"], ended["output"]["text"]) == ("succeeded", "Subject: a bell.")
    assert len(provider.received) == 2


async def test_jobs_of_one_request_are_sent_in_one_array_and_answered_separately(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        first, second, _ = conversation.received.json
        refused = {"code": "invalidModel", "message": "no such model"}
        accepted = {"taskType": "imageCaption", "taskUUID": first["taskUUID"]}
        error = {**refused, "taskUUID": second["taskUUID"]}
        await json_answer(200, {"data": [accepted], "errors": [error]})(conversation)

    provider.script = [answer]
    request = {"provider": "runware", "operation": "imageCaption", "input": CAPTION}
    jobs: Sequence[Json] = (await service.post("/v1/jobs", [request] * 3))["data"]
    submitted = await service.reached(jobs[0]["id"], "submitted")
    refused = await service.ended(jobs[1]["id"])
    unanswered = await service.reached(jobs[2]["id"], "submitted")

    assert {job["status"] for job in (submitted, unanswered)} == {"submitted"}
    assert (refused["status"], refused["error"]["code"]) == ("failed", "invalid_input")
    first_request, second_request = (sent.json for sent in provider.received)
    assert [one["taskUUID"] for one in first_request] == [job["ref"] for job in jobs]
    assert [one["taskUUID"] for one in second_request] == [jobs[2]["ref"]]


@pytest.mark.parametrize("limit_in", ["the setting", "the input"])
async def test_jobs_wait_for_a_free_slot_of_their_account(
    limit_in: str, database_url: str, provider: Receiver
) -> None:
    env = providers_at(provider.url)
    env |= {"USEAPI_MAX_JOBS": "2"} if limit_in == "the setting" else {}
    given = {"maxJobs": 2} if limit_in == "the input" else {}
    async with running_service(database_url, **env) as service:
        jobs = [await submit(service, **given) for _ in range(5)]
        for job in jobs[:2]:
            await service.reached(job["id"], "submitted")
        waiting = [(await service.job(job["id"]))["status"] for job in jobs[2:]]

        await call_back_done(service, jobs[0]["ref"])
        await service.reached(jobs[2]["id"], "submitted")
        later = [(await service.job(job["id"]))["status"] for job in jobs[3:]]

    assert waiting == ["queued"] * 3
    assert later == ["queued"] * 2
    *two, third = (sent.json["replyRef"] for sent in provider.received)
    assert (set(two), third) == ({job["ref"] for job in jobs[:2]}, jobs[2]["ref"])


async def test_a_job_that_waits_for_its_own_limit_delays_no_other(
    service: Service, provider: Receiver
) -> None:
    first = await submit(service)
    await service.reached(first["id"], "submitted")
    limited = await submit(service, maxJobs=1)
    other = await submit(service)
    await service.reached(other["id"], "submitted")
    waiting = await service.job(limited["id"])

    await call_back_done(service, first["ref"])
    await call_back_done(service, other["ref"])
    await service.reached(limited["id"], "submitted")

    assert waiting["status"] == "queued"
    assert len(provider.received) == 3


async def test_jobs_of_different_accounts_do_not_wait_for_each_other(
    service: Service, provider: Receiver
) -> None:
    jobs = [await submit(service, email="one@example.com", maxJobs=1) for _ in range(2)]
    other = await submit(service, email="two@example.com", maxJobs=1)

    await service.reached(jobs[0]["id"], "submitted")
    await service.reached(other["id"], "submitted")

    assert (await service.job(jobs[1]["id"]))["status"] == "queued"
    assert len(provider.received) == 2


async def test_more_jobs_than_one_claim_takes_are_all_sent(
    database_url: str, provider: Receiver
) -> None:
    given = {"image_url": "https://example.com/1.jpg"}
    request = {"provider": "runway_ai", "operation": "image-metadata", "input": given}
    provider.otherwise = json_answer(200, {"image_id": "i", "width": 1})
    env = {**providers_at(provider.url), "RUNWAY_AI_MAX_JOBS": "300"}
    async with running_service(database_url, **env) as service:
        for _ in range(3):
            await service.post("/v1/jobs", [request] * 80)

        async def all_have_ended() -> bool:
            left = [await service.get("/v1/jobs", status=s) for s in ("queued", "submitting")]
            return not any(page["data"] for page in left)

        await eventually(all_have_ended)

    assert len(provider.received) == 240


async def test_a_provider_that_never_answers_does_not_delay_others(
    service: Service, provider: Receiver
) -> None:
    provider.script = [hang, json_answer(200, {"image_url": "https://example.com/1.jpg"})]
    await submit(service)
    await provider.wait(1)

    other = await service.submit("runway_ai", "generate-image", {"prompt": "x"})
    ended = await service.ended(other["id"])

    assert ended["status"] == "succeeded"


async def test_a_job_without_a_callback_expires_and_a_late_callback_replaces_that(
    service: Service, provider: Receiver
) -> None:
    provider.script = [accept]
    provider.otherwise = json_answer(404, {"error": "no such task", "code": 404})
    job = await submit_job(service, deadline_seconds=1)
    expired = await service.ended(job["id"])
    await call_back_done(service, job["ref"])
    ended = await service.job(job["id"])
    newest = (await service.get(f"/v1/jobs/{job['id']}/events"))["data"][0]

    error = expired["error"]
    assert (expired["status"], error["code"], error["stage"]) == ("expired", "timed_out", "timeout")
    assert (ended["status"], ended["error"]) == ("succeeded", None)
    assert (newest["type"], newest["after_expiry"]) == ("job.succeeded", True)


ACCOUNT_REJECTIONS = {
    "401": json_answer(401, {"error": "Unauthorized", "code": 401}),
    "402": json_answer(402, {"error": "expired", "code": 402}),
    "404": json_answer(404, {"error": "No Runway account configured", "code": 404}),
    "596": json_answer(596, {"error": "session broken", "code": 596}),
    "412": json_answer(412, {"error": "You do not have enough credits"}),
}


@pytest.mark.parametrize("name", ACCOUNT_REJECTIONS)
async def test_a_rejected_account_is_paused_once_and_no_job_fails(
    name: str, service: Service, provider: Receiver, clock: MovableClock
) -> None:
    provider.script = [ACCOUNT_REJECTIONS[name]]

    first = await submit(service)
    await wait_until_requeued(service, first["id"])
    paused = await service.http.get("/readyz")
    jobs = [first, await submit(service), await submit(service)]
    clock.advance(FIRST_PAUSE)
    sent = [await service.reached(job["id"], "submitted") for job in jobs]

    assert paused.json()["accounts"].keys() == {"useapi"}
    assert {job["status"] for job in sent} == {"submitted"}
    assert len(provider.received) == 4, "the first job is sent twice"
    assert (await service.http.get("/readyz")).json()["accounts"] == {}
    events = (await service.get("/v1/events"))["data"]
    types = [event["type"] for event in events if event["type"].startswith("provider.")]
    assert types == ["provider.resumed", "provider.paused"]


async def told(service: Service) -> list[str]:
    """The types of the events about accounts, newest first."""
    events = (await service.get("/v1/events"))["data"]
    return [event["type"] for event in events if event["type"].startswith("provider.")]


NO_CREDITS = json_answer(412, {"error": "You do not have enough credits to run this task."})


async def test_work_without_credits_goes_on_while_an_account_has_none(
    service: Service, provider: Receiver
) -> None:
    provider.script = [
        NO_CREDITS,
        json_answer(200, {"prompt": "a bell"}),
        json_answer(200, {"taskId": "user:1-runwayml:me@example.com-task:1", "status": "PENDING"}),
    ]

    paid = [await submit(service)]
    await wait_until_requeued(service, paid[0]["id"])
    paid.append(await submit(service))
    described = await service.submit("useapi", "frames.describe", {"image_assetId": "a"})
    await service.ended(described["id"])
    explored = await submit(service, exploreMode=True)
    await service.reached(explored["id"], "submitted")

    assert [(await service.job(job["id"]))["status"] for job in paid] == ["queued", "queued"]
    assert len(provider.received) == 3
    (reason,) = (await service.http.get("/readyz")).json()["accounts"].values()
    assert reason.startswith("jobs that use credits are paused since ")
    assert await told(service) == ["provider.paused"]


async def test_an_account_is_resumed_by_its_only_job_and_paused_again_by_the_next(
    service: Service, provider: Receiver, clock: MovableClock
) -> None:
    provider.script = [NO_CREDITS, accept, NO_CREDITS]

    job = await submit(service)
    await wait_until_requeued(service, job["id"])
    clock.advance(FIRST_PAUSE)
    await service.reached(job["id"], "submitted")
    resumed = (await service.http.get("/readyz")).json()["accounts"]
    await wait_until_requeued(service, (await submit(service))["id"])

    assert resumed == {}
    assert await told(service) == ["provider.paused", "provider.resumed", "provider.paused"]


async def test_a_callback_of_a_job_whose_answer_was_lost_resumes_the_account(
    service: Service, provider: Receiver, clock: MovableClock
) -> None:
    provider.script = [NO_CREDITS, reset]

    job = await submit(service)
    await wait_until_requeued(service, job["id"])
    clock.advance(FIRST_PAUSE)
    await provider.wait(2)
    await call_back_done(service, job["ref"])

    assert (await service.http.get("/readyz")).json()["accounts"] == {}
    assert await told(service) == ["provider.resumed", "provider.paused"]


async def test_a_restarted_service_resumes_an_account_that_was_paused_before(
    database_url: str, provider: Receiver, clock: MovableClock
) -> None:
    provider.script = [NO_CREDITS]
    env = providers_at(provider.url)
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        job = await submit(service)
        await wait_until_requeued(service, job["id"])
    clock.advance(FIRST_PAUSE)
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        await service.reached(job["id"], "submitted")

        assert (await service.http.get("/readyz")).json()["accounts"] == {}
        assert await told(service) == ["provider.resumed", "provider.paused"]


@pytest.mark.parametrize("answer", [hang, reset])
async def test_no_answer_in_time_is_inconclusive(answer: Answer, provider: Receiver) -> None:
    provider.otherwise = answer
    client = ProviderClient(account_at(provider.url), ssl.create_default_context())

    reply = await client.send(Call(method="POST", path="/x", body=b"{}"), 0.3)
    await client.close()

    assert isinstance(reply, Inconclusive)


async def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    account = account_at(f"http://127.0.0.1:{free_port()}")
    client = ProviderClient(account, ssl.create_default_context())

    reply = await client.send(Call(method="POST", path="/x", body=b"{}"), 5)
    await client.close()

    assert isinstance(reply, RetryLater)


@pytest.mark.parametrize(
    "url", ["http://255.255.255.255", "http://[100::1]", "http://127.0.0.1:99999", "ftp://x", "\n"]
)
async def test_an_unusable_address_means_that_nothing_was_sent(url: str) -> None:
    client = ProviderClient(account_at(url), ssl.create_default_context())

    reply = await client.send(Call(method="POST", path="/x", body=b"{}"), 5)
    await client.close()

    assert isinstance(reply, RetryLater)


async def test_a_timeout_while_waiting_for_a_connection_means_that_nothing_was_sent(
    provider: Receiver,
) -> None:
    provider.otherwise = hang
    client = ProviderClient(account_at(provider.url), ssl.create_default_context())
    call = Call(method="POST", path="/x", body=b"{}")

    others = [asyncio.create_task(client.send(call, 60)) for _ in range(10)]
    await provider.wait(10)
    reply = await client.send(call, 0.1)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.close()

    assert isinstance(reply, RetryLater)
    assert len(provider.received) == 10


async def test_a_job_waits_while_the_process_cannot_open_files(
    sqlite_url: str, tmp_path: Path, provider: Receiver
) -> None:
    env = {**providers_at(provider.url), "USEAPI_TOKEN": ""}  # its accounts would be read meanwhile
    async with a_process(sqlite_url, tmp_path, **env) as process:
        process.allow_files(0)
        job = await process.submit("runware", "imageCaption", CAPTION)

        async def is_requeued() -> bool:
            shown = await process.http.get(f"/v1/jobs/{job['id']}")
            if not shown.is_success:  # the store may need a file for it
                return False
            return bool(shown.json()["status"] == "queued" and shown.json()["version"] >= 3)

        await eventually(is_requeued)
        sent_before = len(provider.received)
        process.allow_files(None)
        await process.reached(job["id"], "submitted")

    assert (sent_before, len(provider.received)) == (0, 1)


class BrokenSubmit(UseApi):
    """A provider with a bug in `submit`."""

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        raise LookupError(tasks[0].ref)


class BrokenReadAnswer(UseApi):
    """A provider with a bug in `read_answer`."""

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, ProviderAnswer]:
        raise LookupError(reply.status, tasks[0].ref)


@asynccontextmanager
async def submitting(
    database_url: str, provider: Provider, provider_url: str
) -> AsyncIterator[tuple[Store, Transactions]]:
    """Run a submitter with its own store, for *provider* at *provider_url*."""
    store = await open_store(database_url, now())
    client = ProviderClient(account_at(provider_url), ssl.create_default_context())
    channel = ProviderChannel(
        provider=provider, client=client, max_jobs=1, callback_base="http://127.0.0.1"
    )
    wakeup = SubmitWakeup()
    transactions = Transactions(store, now, SystemIdSource().new_id, NO_QUEUES, (wakeup.on_commit,))
    signer = CallbackSigner(["k" * 32])
    submitter = Submitter(store, transactions, wakeup, {"useapi": channel}, signer)
    running = asyncio.create_task(submitter.run())
    try:
        yield store, transactions
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.close()
        await store.close()


async def wait_until_answered(store: Store, job: Job) -> Job:
    """Wait until the job was sent and its answer, or the lack of one, is stored."""

    async def look() -> Job | None:
        stored = await store.jobs.get(job.tenant, job.id)
        unanswered = stored.status is Status.QUEUED or (
            stored.status is Status.SUBMITTING and stored.reconcile_reason is None
        )
        return None if unanswered else stored

    return cast("Job", await eventually(look))


async def test_a_bug_while_building_the_request_fails_the_job(
    database_url: str, provider: Receiver
) -> None:
    async with submitting(database_url, BrokenSubmit(), provider.url) as (store, transactions):
        new = a_new_job(created_at=now())
        await transactions.add_jobs([new], None)
        job = await wait_until_answered(store, new.job)

    assert job.status is Status.FAILED
    assert job.error is not None
    assert "could not be built" in job.error.message
    assert job.error.retryable
    assert not provider.received


@pytest.mark.parametrize(
    "removed",
    [{"operation": "gen0.create"}, {"provider": "closed", "account": "closed"}],
    ids=["operation", "provider"],
)
async def test_a_job_whose_operation_was_removed_fails_and_stops_no_other(
    removed: dict[str, str], database_url: str, provider: Receiver
) -> None:
    async with submitting(database_url, UseApi(), provider.url) as (store, transactions):
        lost = {"status": Status.SUBMITTING, "due_at": now() - SECOND}
        old = [a_new_job(created_at=now(), **removed, **more) for more in ({}, lost)]
        other = a_new_job(created_at=now())
        await transactions.add_jobs([*old, other], None)
        never_sent, never_answered = [await wait_until_answered(store, one.job) for one in old]
        sent = await wait_until_answered(store, other.job)

    assert (never_sent.status, never_answered.status) == (Status.FAILED, Status.FAILED)
    assert never_sent.error is not None
    assert never_sent.error.code is ErrorCode.INVALID_INPUT
    assert never_sent.error.message.startswith("This operation was removed")
    assert never_answered.error is not None
    assert never_answered.error.code is ErrorCode.SUBMIT_UNKNOWN
    assert sent.status is Status.SUBMITTED


async def test_a_bug_while_reading_the_answer_makes_it_inconclusive(
    database_url: str, provider: Receiver
) -> None:
    async with submitting(database_url, BrokenReadAnswer(), provider.url) as (store, transactions):
        new = a_new_job(created_at=now())
        await transactions.add_jobs([new], None)
        job = await wait_until_answered(store, new.job)

    assert (job.status, job.reconcile_reason) == (Status.SUBMITTING, ReconcileReason.ANSWER_LOST)
    assert len(provider.received) == 1


async def test_a_provider_that_sends_single_bytes_is_aborted_in_time(provider: Receiver) -> None:
    async def drip(conversation: Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await conversation.send(b" ")
            await asyncio.sleep(0.05)

    provider.otherwise = drip
    client = ProviderClient(account_at(provider.url), ssl.create_default_context())

    async with asyncio.timeout(5):
        reply = await client.send(Call(method="GET", path="/x"), 0.5)
    await client.close()

    assert isinstance(reply, Inconclusive)


def account_at(url: str) -> ProviderAccount:
    return ProviderAccount(base_url=url, token="t", max_jobs=1)  # noqa: S106 - not a real token
