"""Jobs on their way out: what a provider may answer, and what becomes of the job."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from service.domain.jobs.job import Job, ReconcileReason, Status
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
from tests.support.job_steps import DONE
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, hang, reset, said, status
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
RUNNING_ELSEWHERE = {
    "error": "Account me@example.com is busy executing 1 tasks",
    "runningTasks": {"me@example.com": [{"taskId": "other", "replyRef": str(uuid4())}]},
    "code": 429,
}


@pytest.fixture
async def provider(receiver: Receiver) -> Receiver:
    """All three providers on one port; they answer as they are told and never call back."""
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
    """Take whatever is sent, as each of the providers says it."""
    sent = conversation.received.json
    if isinstance(sent, list):
        named = [{"taskType": one["taskType"], "taskUUID": one["taskUUID"]} for one in sent]
        await said(200, {"data": named})(conversation)
    else:
        task = {"taskId": f"user:1-runwayml:me@example.com-task:{uuid4()}", "status": "PENDING"}
        await said(200, {**task, "artifacts": [], "error": None})(conversation)


async def submit(service: Service, **given: object) -> Json:
    return await service.submit("useapi", "frames.create", {"text_prompt": "x", **given})


async def end(service: Service, ref: str) -> None:
    assert await service.call_back("useapi", ref, {"replyRef": ref, **DONE}) == 204


async def put_back(service: Service, job_id: str) -> Json:
    """Wait until the job was sent and is in the queue again."""

    async def look() -> Json | None:
        job = await service.job(job_id)
        return job if job["status"] == "queued" and job["version"] >= 3 else None

    return dict(await eventually(look))


async def test_a_job_is_sent_with_its_credential_its_ref_and_our_signed_address(
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


async def test_a_job_is_on_disk_before_it_is_sent(service: Service, provider: Receiver) -> None:
    seen: list[Json] = []

    async def answer(conversation: Conversation) -> None:
        seen.extend((await service.get("/v1/jobs"))["data"])
        await accept(conversation)

    provider.script = [answer]
    job = await submit(service)
    await service.reached(job["id"], "submitted")

    assert [(one["id"], one["status"]) for one in seen] == [(job["id"], "submitting")]


async def test_a_callback_that_overtakes_the_answer_is_not_taken_back(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        await end(service, conversation.received.json["replyRef"])
        await accept(conversation)

    provider.script = [answer]
    job = await submit(service)
    ended = await service.ended(job["id"])
    raw = await eventually(lambda: raw_answer(service, job["id"]))
    events = (await service.get(f"/v1/jobs/{job['id']}/events"))["data"]

    assert ended["status"] == "succeeded"
    assert (await service.job(job["id"]))["status"] == "succeeded"
    assert raw["status"] == "SUCCEEDED"
    assert [one["type"] for one in events] == ["job.succeeded", "job.queued"]


async def raw_answer(service: Service, job_id: str) -> Json | None:
    raw = (await service.get(f"/v1/jobs/{job_id}", expand="raw"))["raw"]
    return dict(raw) if raw else None


REFUSALS: dict[str, tuple[Answer, str, bool]] = {
    "400": (said(400, {"error": "no such style", "code": 400}), "invalid_input", False),
    "403": (said(403, {"error": "forbidden", "code": 403}), "unauthorized", False),
    "404": (said(404, {"error": "not found", "code": 404}), "invalid_input", False),
    "422": (said(422, {"error": "moderated", "code": 422}), "moderated", False),
    "500": (said(500, {"error": "oops", "code": 500}), "provider_error", True),
    "502": (status(502, b"<html>Bad Gateway</html>"), "provider_error", True),
    "596": (said(596, {"error": "session broken", "code": 596}), "provider_error", False),
    "a 200 that says 422": (said(200, {"error": "no", "code": 422}), "moderated", False),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_ends_the_job_and_says_why(
    name: str, service: Service, provider: Receiver
) -> None:
    answer, code, retryable = REFUSALS[name]
    provider.script = [answer]

    job = await submit(service)
    error = (await service.ended(job["id"]))["error"]

    assert (error["code"], error["retryable"], error["stage"]) == (code, retryable, "submit")
    assert error["message"]
    assert len(provider.received) == 1


@pytest.mark.parametrize(
    "answer",
    [
        said(429, RUNNING_ELSEWHERE, retry_after="1"),
        said(429, {"error": "You have too many tasks running or pending."}, retry_after="1"),
        said(503, {"error": "down", "code": 503}, retry_after="1"),
        status(504, b"<html>", retry_after="1"),
        status(408, b"", retry_after="1"),
    ],
    ids=["429 by useapi", "429 by Runway", "503", "504", "408"],
)
async def test_a_busy_provider_is_asked_again_when_it_said_so(
    answer: Answer, service: Service, provider: Receiver
) -> None:
    provider.script = [answer]

    start = time.monotonic()
    job = await submit(service)
    first, second = await provider.wait(2)
    took = time.monotonic() - start
    taken = await service.reached(job["id"], "submitted")

    assert first.body == second.body
    assert 1 <= took < 4
    assert taken["error"] is None


@pytest.mark.parametrize(
    "answer",
    [
        said(429, RUNNING_ELSEWHERE),
        said(429, {"error": "You have too many tasks running or pending."}),
        said(503, {"error": "down", "code": 503}),
    ],
    ids=["429 by useapi", "429 by Runway", "503"],
)
async def test_a_busy_provider_is_asked_again_as_soon_as_one_of_its_jobs_has_ended(
    answer: Answer, service: Service, provider: Receiver
) -> None:
    first = await submit(service)
    await service.reached(first["id"], "submitted")
    provider.script = [answer]
    second = await submit(service)
    await put_back(service, second["id"])

    start = time.monotonic()
    await end(service, first["ref"])
    await service.reached(second["id"], "submitted")

    assert time.monotonic() - start < 4
    assert len(provider.received) == 3


async def test_a_provider_that_cannot_be_reached_loses_no_job(database_url: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with running_service(database_url, **providers_at(nobody)) as service:
        job = await submit(service)

        waiting = await put_back(service, job["id"])

    assert (waiting["error"], waiting["submitted_at"]) == (None, None)


async def test_a_task_the_account_is_busy_with_was_accepted_and_is_not_sent_again(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        running = {"taskId": "user:1-runwayml:me@example.com-task:x"}
        running["replyRef"] = conversation.received.json["replyRef"]
        told = {**RUNNING_ELSEWHERE, "runningTasks": {"me@example.com": [running]}}
        await said(429, told)(conversation)

    provider.script = [answer]
    job = await submit(service)
    taken = await service.reached(job["id"], "submitted")

    assert taken["provider_task_id"].endswith("task:x")
    assert len(provider.received) == 1


@pytest.mark.parametrize(
    "answer",
    [reset, status(200, b"<html>Welcome</html>"), status(200, b""), said(200, [])],
    ids=["no answer", "HTML", "empty", "a list"],
)
async def test_a_paid_job_whose_answer_was_lost_waits_for_its_callback_and_is_sent_once(
    answer: Answer, service: Service, provider: Receiver
) -> None:
    provider.script = [answer]
    job = await submit(service)
    await service.reached(job["id"], "submitting")
    await provider.wait()
    other = await submit(service)
    await service.reached(other["id"], "submitted")

    await end(service, job["ref"])
    ended = await service.ended(job["id"])

    assert ended["status"] == "succeeded"
    refs = [sent.json["replyRef"] for sent in provider.received]
    assert refs == [job["ref"], other["ref"]]


async def test_runware_is_sent_the_same_uuid_again_and_says_that_it_has_it(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        uuid = conversation.received.json[0]["taskUUID"]
        known = {"code": "conflictTaskUUID", "message": "known", "taskUUID": uuid}
        await said(400, {"errors": [known]})(conversation)

    provider.script = [reset, answer]
    job = await service.submit("runware", "imageCaption", CAPTION)
    taken = await service.reached(job["id"], "submitted")

    assert taken["error"] is None
    assert [sent.json[0]["taskUUID"] for sent in provider.received] == [job["ref"]] * 2


async def test_a_request_whose_answer_was_lost_is_not_repeated_in_the_same_instant(
    service: Service, provider: Receiver
) -> None:
    arrived: list[float] = []

    async def answer(conversation: Conversation) -> None:
        arrived.append(time.monotonic())
        await reset(conversation)

    provider.script = [answer, answer]
    job = await service.submit("runware", "imageCaption", CAPTION)
    await service.reached(job["id"], "submitted")

    first, second = arrived
    assert second - first >= 0.5


async def test_what_can_be_neither_repeated_nor_called_back_fails_as_unknown(
    service: Service, provider: Receiver
) -> None:
    provider.script = [reset]

    job = await service.submit("runway_ai", "generate-image", {"prompt": "x"})
    error = (await service.ended(job["id"]))["error"]

    assert (error["code"], error["stage"]) == ("submit_unknown", "submit")
    assert len(provider.received) == 1


async def test_what_costs_nothing_is_repeated_when_its_answer_was_lost(
    service: Service, provider: Receiver
) -> None:
    provider.script = [reset, said(200, {"prompt": "Subject: a bell."})]

    job = await service.submit("useapi", "frames.describe", {"image_assetId": "a"})
    ended = await service.ended(job["id"])

    assert (ended["status"], ended["output"]["text"]) == ("succeeded", "Subject: a bell.")
    assert len(provider.received) == 2


async def test_jobs_of_one_request_travel_in_one_array_and_are_answered_one_by_one(
    service: Service, provider: Receiver
) -> None:
    async def answer(conversation: Conversation) -> None:
        first, second, _ = conversation.received.json
        refused = {"code": "invalidModel", "message": "no such model"}
        named = {"taskType": "imageCaption", "taskUUID": first["taskUUID"]}
        error = {**refused, "taskUUID": second["taskUUID"]}
        await said(200, {"data": [named], "errors": [error]})(conversation)

    provider.script = [answer]
    order = {"provider": "runware", "operation": "imageCaption", "input": CAPTION}
    jobs: Sequence[Json] = (await service.post("/v1/jobs", [order] * 3))["data"]
    taken = await service.reached(jobs[0]["id"], "submitted")
    refused = await service.ended(jobs[1]["id"])
    unnamed = await service.reached(jobs[2]["id"], "submitted")

    assert {job["status"] for job in (taken, unnamed)} == {"submitted"}
    assert (refused["status"], refused["error"]["code"]) == ("failed", "invalid_input")
    together, again = (sent.json for sent in provider.received)
    assert [one["taskUUID"] for one in together] == [job["ref"] for job in jobs]
    assert [one["taskUUID"] for one in again] == [jobs[2]["ref"]]


@pytest.mark.parametrize("account", ["the setting", "the input"])
async def test_no_more_jobs_are_under_way_than_an_account_has_slots_and_a_free_one_is_used_at_once(
    account: str, database_url: str, provider: Receiver
) -> None:
    env = providers_at(provider.url)
    env |= {"USEAPI_MAX_JOBS": "2"} if account == "the setting" else {}
    given = {"maxJobs": 2} if account == "the input" else {}
    async with running_service(database_url, **env) as service:
        jobs = [await submit(service, **given) for _ in range(5)]
        for job in jobs[:2]:
            await service.reached(job["id"], "submitted")
        waiting = [(await service.job(job["id"]))["status"] for job in jobs[2:]]

        start = time.monotonic()
        await end(service, jobs[0]["ref"])
        await service.reached(jobs[2]["id"], "submitted")
        took = time.monotonic() - start
        later = [(await service.job(job["id"]))["status"] for job in jobs[3:]]

    assert waiting == ["queued"] * 3
    assert later == ["queued"] * 2
    assert took < 4
    *two, third = (sent.json["replyRef"] for sent in provider.received)
    assert (set(two), third) == ({job["ref"] for job in jobs[:2]}, jobs[2]["ref"])


async def test_accounts_that_are_named_do_not_wait_for_each_other(
    service: Service, provider: Receiver
) -> None:
    full = [await submit(service, email="one@example.com", maxJobs=1) for _ in range(2)]
    other = await submit(service, email="two@example.com", maxJobs=1)

    await service.reached(full[0]["id"], "submitted")
    await service.reached(other["id"], "submitted")

    assert (await service.job(full[1]["id"]))["status"] == "queued"
    assert len(provider.received) == 2


async def test_more_jobs_than_one_claim_takes_are_all_sent(
    database_url: str, provider: Receiver
) -> None:
    given = {"image_url": "https://example.com/1.jpg"}
    order = {"provider": "runway_ai", "operation": "image-metadata", "input": given}
    provider.otherwise = said(200, {"image_id": "i", "width": 1})
    env = {**providers_at(provider.url), "RUNWAY_AI_MAX_JOBS": "300"}
    async with running_service(database_url, **env) as service:
        for _ in range(3):
            await service.post("/v1/jobs", [order] * 80)

        async def all_have_ended() -> bool:
            left = [await service.get("/v1/jobs", status=s) for s in ("queued", "submitting")]
            return not any(page["data"] for page in left)

        await eventually(all_have_ended)

    assert len(provider.received) == 240


async def test_a_provider_that_hangs_holds_up_nobody_else(
    service: Service, provider: Receiver
) -> None:
    provider.script = [hang, said(200, {"image_url": "https://example.com/1.jpg"})]
    await submit(service)
    await provider.wait(1)

    other = await service.submit("runway_ai", "generate-image", {"prompt": "x"})
    ended = await service.ended(other["id"])

    assert ended["status"] == "succeeded"


async def test_a_job_nobody_hears_of_expires_and_the_providers_later_word_replaces_that(
    service: Service, provider: Receiver
) -> None:
    provider.script = [accept]
    provider.otherwise = said(404, {"error": "no such task", "code": 404})
    job = await service.post(
        "/v1/jobs",
        {
            "provider": "useapi",
            "operation": "frames.create",
            "input": {"text_prompt": "x"},
            "deadline_seconds": 1,
        },
    )
    expired = await service.ended(job["id"])
    await end(service, job["ref"])
    ended = await service.job(job["id"])
    newest = (await service.get(f"/v1/jobs/{job['id']}/events"))["data"][0]

    error = expired["error"]
    assert (expired["status"], error["code"], error["stage"]) == ("expired", "timed_out", "timeout")
    assert (ended["status"], ended["error"]) == ("succeeded", None)
    assert (newest["type"], newest["after_expiry"]) == ("job.succeeded", True)


REFUSED = {
    "401": said(401, {"error": "Unauthorized", "code": 401}),
    "402": said(402, {"error": "expired", "code": 402}),
    "412": said(412, {"error": "You do not have enough credits"}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_of_the_account_pauses_it_once_and_burns_no_job(
    name: str, service: Service, provider: Receiver, clock: MovableClock
) -> None:
    provider.script = [REFUSED[name]]

    first = await submit(service)
    await put_back(service, first["id"])
    told = await service.http.get("/readyz")
    jobs = [first, await submit(service), await submit(service)]
    clock.advance(FIRST_PAUSE)
    sent = [await service.reached(job["id"], "submitted") for job in jobs]

    assert told.json()["accounts"].keys() == {"useapi"}
    assert {job["status"] for job in sent} == {"submitted"}
    assert len(provider.received) == 4, "one job was refused, and tried again"
    assert (await service.http.get("/readyz")).json()["accounts"] == {}
    events = (await service.get("/v1/events"))["data"]
    about = [event["type"] for event in events if event["type"].startswith("provider.")]
    assert about == ["provider.resumed", "provider.paused"]


@pytest.mark.parametrize("answer", [hang, reset])
async def test_no_answer_in_time_is_doubt(answer: Answer, provider: Receiver) -> None:
    provider.otherwise = answer
    client = ProviderClient(account_at(provider.url), ssl.create_default_context())

    came = await client.send(Call(method="POST", path="/x", body=b"{}"), 0.3)
    await client.close()

    assert isinstance(came, Inconclusive)


async def test_what_never_left_is_no_doubt() -> None:
    account = account_at(f"http://127.0.0.1:{free_port()}")
    client = ProviderClient(account, ssl.create_default_context())

    came = await client.send(Call(method="POST", path="/x", body=b"{}"), 5)
    await client.close()

    assert isinstance(came, RetryLater)


@pytest.mark.parametrize(
    "url", ["http://255.255.255.255", "http://[100::1]", "http://127.0.0.1:99999", "ftp://x", "\n"]
)
async def test_a_request_that_has_no_way_to_go_was_not_sent(url: str) -> None:
    client = ProviderClient(account_at(url), ssl.create_default_context())

    came = await client.send(Call(method="POST", path="/x", body=b"{}"), 5)
    await client.close()

    assert isinstance(came, RetryLater)


async def test_a_request_that_waits_for_a_connection_in_vain_was_not_sent(
    provider: Receiver,
) -> None:
    provider.otherwise = hang
    client = ProviderClient(account_at(provider.url), ssl.create_default_context())
    call = Call(method="POST", path="/x", body=b"{}")

    others = [asyncio.create_task(client.send(call, 60)) for _ in range(10)]
    await provider.wait(10)
    came = await client.send(call, 0.1)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.close()

    assert isinstance(came, RetryLater)
    assert len(provider.received) == 10


async def test_without_a_file_left_nothing_is_sent_and_the_job_waits(
    sqlite_url: str, tmp_path: Path, provider: Receiver
) -> None:
    async with a_process(sqlite_url, tmp_path, **providers_at(provider.url)) as process:
        process.allow_files(0)
        job = await process.submit("useapi", "frames.create", {"text_prompt": "x"})

        async def is_back() -> bool:
            shown = await process.job(job["id"])
            return bool(shown["status"] == "queued" and shown["version"] >= 3)

        await eventually(is_back)
        sent_before = len(provider.received)
        process.allow_files(None)
        await process.reached(job["id"], "submitted")

    assert (sent_before, len(provider.received)) == (0, 1)


class Unmade(UseApi):
    """Has a fault where it makes requests."""

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        raise LookupError(tasks[0].ref)


class Unread(UseApi):
    """Has a fault where it reads answers."""

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, ProviderAnswer]:
        raise LookupError(reply.status, tasks[0].ref)


@asynccontextmanager
async def submitting(
    url: str, provider: Provider, at: str
) -> AsyncIterator[tuple[Store, Transactions]]:
    """Run a submitter that reaches *provider* *at* a URL, on a store of its own."""
    store = await open_store(url, now())
    client = ProviderClient(account_at(at), ssl.create_default_context())
    line = ProviderChannel(
        provider=provider, client=client, max_jobs=1, callback_base="http://127.0.0.1"
    )
    wakeup = SubmitWakeup()
    transactions = Transactions(store, now, SystemIdSource().new_id, NO_QUEUES, (wakeup.on_commit,))
    signer = CallbackSigner(["k" * 32])
    submitter = Submitter(store, transactions, wakeup, {"useapi": line}, signer)
    running = asyncio.create_task(submitter.run())
    try:
        yield store, transactions
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.close()
        await store.close()


async def left_queue(store: Store, job: Job) -> Job:
    async def look() -> Job | None:
        seen = await store.jobs.get(job.tenant, job.id)
        moving = seen.status is Status.QUEUED or (
            seen.status is Status.SUBMITTING and seen.reconcile_reason is None
        )
        return None if moving else seen

    return cast("Job", await eventually(look))


async def test_a_request_that_a_fault_of_ours_keeps_from_being_made_fails_its_job(
    database_url: str, provider: Receiver
) -> None:
    async with submitting(database_url, Unmade(), provider.url) as (store, transactions):
        new = a_new_job(created_at=now())
        await transactions.add_jobs([new], None)
        job = await left_queue(store, new.job)

    assert job.status is Status.FAILED
    assert job.error is not None
    assert "could not be built" in job.error.message
    assert job.error.retryable
    assert not provider.received


async def test_an_answer_that_a_fault_of_ours_keeps_from_being_read_is_doubt(
    database_url: str, provider: Receiver
) -> None:
    async with submitting(database_url, Unread(), provider.url) as (store, transactions):
        new = a_new_job(created_at=now())
        await transactions.add_jobs([new], None)
        job = await left_queue(store, new.job)

    assert (job.status, job.reconcile_reason) == (Status.SUBMITTING, ReconcileReason.ANSWER_LOST)
    assert len(provider.received) == 1


async def test_a_provider_that_dribbles_is_given_up_in_time(provider: Receiver) -> None:
    async def dribble(conversation: Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await conversation.send(b" ")
            await asyncio.sleep(0.05)

    provider.otherwise = dribble
    client = ProviderClient(account_at(provider.url), ssl.create_default_context())

    async with asyncio.timeout(5):
        came = await client.send(Call(method="GET", path="/x"), 0.5)
    await client.close()

    assert isinstance(came, Inconclusive)


def account_at(url: str) -> ProviderAccount:
    return ProviderAccount(base_url=url, token="t", max_jobs=1)  # noqa: S106 - nobody's
