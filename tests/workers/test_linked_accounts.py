"""Linked accounts: read in the background, and given the jobs that any of them may run."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.providers.useapi.provider import UseApi
from service.runtime.clients.provider_client import ProviderChannel, ProviderClient
from service.runtime.open_streams import HEARTBEAT_SECONDS
from service.runtime.settings import ProviderAccount
from service.transactions.slots import SlotRules
from service.transactions.store_protocols import Store
from service.workers.account_reader import AccountReader
from tests.support.factories import T0, a_new_job
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, hang, json_answer, status
from tests.support.service_harness import (
    Json,
    Service,
    a_process,
    eventually,
    providers_at,
    running_service,
)
from tests.support.store_steps import insert_jobs

pytestmark = pytest.mark.anyio
ANN, BOB = "ann@example.com", "bob@example.com"
TWO_ACCOUNTS = {ANN: {"email": ANN, "maxJobs": 2}, BOB: {"email": BOB, "maxJobs": 1}}


async def accept(conversation: Conversation) -> None:
    email = conversation.received.json.get("email", "me@example.com")
    ref = conversation.received.json["replyRef"]
    task = {"taskId": f"user:1-runwayml:{email}-task:{ref}", "status": "PENDING"}
    await json_answer(200, task)(conversation)


@pytest.fixture
async def provider(receiver: Receiver) -> Receiver:
    """A fake of useapi.net with two linked accounts, which never calls back."""
    receiver.accounts, receiver.otherwise = TWO_ACCOUNTS, accept
    return receiver


@pytest.fixture
async def service(
    database_url: str, provider: Receiver, clock: MovableClock
) -> AsyncIterator[Service]:
    """A service that knows the two accounts."""
    env = providers_at(provider.url)
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        await service.context.store.jobs.put_linked_accounts("useapi", {ANN: 2, BOB: 1})
        yield service


async def submit(service: Any, **given: object) -> Json:
    job = await service.submit("useapi", "frames.create", {"text_prompt": "x", **given})
    return dict(job)


def emails(provider: Receiver) -> list[str]:
    return sorted(sent.json.get("email") for sent in provider.received)


async def test_jobs_fill_the_slots_of_all_linked_accounts_and_name_their_account(
    service: Service, provider: Receiver
) -> None:
    jobs = [await submit(service) for _ in range(4)]
    sent = await provider.wait(3)
    for job in jobs[:3]:
        await service.reached(job["id"], "submitted")
    waiting = await service.job(jobs[3]["id"])
    to_bob = next(one.json["replyRef"] for one in sent if one.json["email"] == BOB)
    done = {"status": "FAILED", "error": "no", "replyRef": to_bob}
    await service.call_back("useapi", to_bob, done)
    await service.reached(jobs[3]["id"], "submitted")

    assert waiting["status"] == "queued"
    assert emails(provider) == [ANN, ANN, BOB, BOB]


async def test_a_job_that_names_its_account_uses_the_slots_of_that_account(
    service: Service, provider: Receiver
) -> None:
    pinned = await submit(service, email=BOB)
    await service.reached(pinned["id"], "submitted")
    others = [await submit(service) for _ in range(2)]
    for job in others:
        await service.reached(job["id"], "submitted")
    waiting = await submit(service, email=BOB)

    assert emails(provider) == [ANN, ANN, BOB]
    assert (await service.job(waiting["id"]))["status"] == "queued"


async def test_a_job_that_one_account_refuses_is_sent_to_another(
    service: Service, provider: Receiver
) -> None:
    provider.script = [json_answer(412, {"error": "You do not have enough credits"})]

    job = await submit(service)
    await service.reached(job["id"], "submitted")

    refused, accepted = provider.received
    assert {refused.json["email"], accepted.json["email"]} == {ANN, BOB}
    reason = (await service.http.get("/readyz")).json()["accounts"]["useapi"]
    assert "example.com" not in reason
    assert (await service.job(job["id"]))["error"] is None


async def test_a_job_with_an_asset_runs_at_the_account_of_the_asset(
    service: Service, provider: Receiver
) -> None:
    asset = f"user:1-runwayml:{BOB}-asset:1"

    owned = await submit(service, imageAssetId1=asset)
    await service.reached(owned["id"], "submitted")
    unknown = await submit(service, imageAssetId1="8f14e45f")
    await service.reached(unknown["id"], "submitted")
    others = [await submit(service) for _ in range(2)]
    for job in others:
        await service.reached(job["id"], "submitted")

    assert [sent.json.get("email") for sent in provider.received] == [None, None, ANN, ANN]


async def test_a_process_reads_the_accounts_after_its_start_and_logs_no_address(
    sqlite_url: str, tmp_path: Path, provider: Receiver
) -> None:
    async with a_process(sqlite_url, tmp_path, **providers_at(provider.url)) as process:

        async def has_read() -> bool:
            return "accounts.read" in process.log.read_text()

        await eventually(has_read)
        job = await submit(process)
        await process.reached(job["id"], "submitted")
        ready, metrics = await process.http.get("/readyz"), await process.http.get("/metrics")
        log = process.log.read_text()

    assert emails(provider)[0] in (ANN, BOB)
    assert '"count":2' in log
    for text in (log, ready.text, metrics.text):
        assert "example.com" not in text


async def read_accounts(store: Store, receiver: Receiver, answer: Answer) -> bool:
    """Read the accounts once, with this *answer* of the provider."""
    receiver.accounts, receiver.otherwise = None, answer
    account = ProviderAccount(base_url=receiver.url, token="t", max_jobs=1)  # noqa: S106 - not a real token
    client = ProviderClient(account, ssl.create_default_context())
    channel = ProviderChannel(
        provider=UseApi(), client=client, max_jobs=1, callback_base="http://127.0.0.1"
    )
    try:
        return await AccountReader(store, [channel]).read(channel)
    finally:
        await client.close()


async def claimed_accounts(store: Store) -> list[str]:
    claimed = await store.jobs.claim(T0, SlotRules(limits={"useapi": 1}), lambda job: job)
    return [job.account for job in claimed.jobs]


@pytest.mark.parametrize(
    "answer",
    [
        json_answer(401, {"error": "Unauthorized", "code": 401}),
        json_answer(200, {"error": "Unauthorized", "code": 401}),
        status(500),
        status(200, b"<html>"),
        json_answer(200, []),
        json_answer(200, {"x": 1}),
    ],
    ids=["401", "a 200 that says 401", "500", "HTML", "a list", "something else"],
)
async def test_an_answer_that_cannot_be_read_changes_nothing(
    answer: Answer, store: Store, receiver: Receiver
) -> None:
    await store.jobs.put_linked_accounts("useapi", {ANN: 2})
    await insert_jobs(store, *(a_new_job(any_account=True) for _ in range(3)))

    assert not await read_accounts(store, receiver, answer)
    assert await claimed_accounts(store) == [f"useapi:{ANN}"] * 2


@pytest.mark.parametrize(
    ("answer", "accounts"),
    [
        (json_answer(200, TWO_ACCOUNTS), [f"useapi:{ANN}", f"useapi:{ANN}", f"useapi:{BOB}"]),
        (json_answer(200, {ANN.upper(): {"maxJobs": "1"}}), [f"useapi:{ANN}"]),
        (json_answer(200, {}), ["useapi"]),
        (json_answer(404, {"error": "No accounts", "code": 404}), ["useapi"]),
    ],
    ids=["two", "one", "none", "404"],
)
async def test_the_accounts_of_the_answer_are_used(
    answer: Answer, accounts: list[str], store: Store, receiver: Receiver
) -> None:
    await insert_jobs(store, *(a_new_job(any_account=True) for _ in range(5)))

    assert await read_accounts(store, receiver, answer)
    assert await claimed_accounts(store) == accounts


async def test_a_start_does_not_wait_for_the_accounts(
    database_url: str, provider: Receiver
) -> None:
    provider.accounts = None
    provider.script = [hang]
    async with running_service(database_url, **providers_at(provider.url)) as service:
        await provider.wait(1)
        job = await submit(service)
        await service.reached(job["id"], "submitted")

        assert (await service.http.get("/readyz")).json()["ready"]

    assert "email" not in provider.received[1].json
