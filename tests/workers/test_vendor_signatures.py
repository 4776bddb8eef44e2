"""Callbacks that their vendor signs: refused before the database unless the signature is valid."""

import json
from collections.abc import Callable, Mapping

import httpx
import pytest

from service.domain.primitives.timestamps import SECOND
from service.sandbox.providers.replicate.api import sign
from tests.support.movable_clock import MovableClock
from tests.support.service_harness import Json, SandboxedService, Service, plain_client

pytestmark = pytest.mark.anyio

PREDICTION: Json = {
    "id": "ufawqhfynnddngldkgtslldrkq",
    "status": "succeeded",
    "output": ["https://replicate.delivery/pbxt/bell/out-0.png"],
}
BODY = json.dumps(PREDICTION).encode()
INPUT = {"version": "5c7d5dc6", "input": {"prompt": "a bell [lost]"}}


async def submit_ref(service: Service) -> str:
    """Submit a job whose provider sends no callbacks, and return its ref."""
    return str((await service.submit("replicate", "predictions.create", INPUT))["ref"])


async def call_back(url: str, headers: Mapping[str, str], body: bytes = BODY) -> httpx.Response:
    async with plain_client() as client:
        return await client.post(url, content=body, headers=dict(headers))


async def counted(service: Service, verdict: str) -> float:
    """Read the counter of Replicate's callbacks with *verdict*."""
    name = f'belfry_callbacks_total{{provider="replicate",verdict="{verdict}"}}'
    lines = (await service.http.get("/metrics")).text.splitlines()
    values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)]
    return sum(values)


async def stored(service: Service) -> list[str]:
    return [callback["verdict"] for callback in (await service.get("/v1/callbacks"))["data"]]


async def test_a_callback_with_the_vendors_signature_is_applied(
    sandboxed: SandboxedService,
) -> None:
    job = await sandboxed.submit("replicate", "predictions.create", INPUT)
    await sandboxed.reached(job["id"], "submitted", "running", "succeeded")
    known = (await sandboxed.job(job["id"]))["provider_task_id"]
    body = json.dumps({**PREDICTION, "id": known}).encode()

    answer = await call_back(sandboxed.callback_url("replicate", job["ref"]), sign(body), body)

    assert answer.status_code == 204
    assert (await sandboxed.ended(job["id"]))["status"] == "succeeded"
    assert await stored(sandboxed) == ["accepted"]


@pytest.mark.parametrize(
    "forge",
    [
        lambda _: sign(BODY, b"a guess"),
        lambda _: sign(BODY + b" "),
        lambda _: {},
        lambda valid: {**valid, "webhook-id": "msg_another"},
        lambda valid: {**valid, "webhook-timestamp": "1614265330"},
        lambda valid: {**valid, "webhook-signature": "v1,%%% v1, v2,AAAA"},
    ],
    ids=["key", "body", "none", "id", "time", "garbage"],
)
async def test_a_callback_without_a_valid_signature_of_the_vendor_is_not_stored(
    forge: Callable[[dict[str, str]], dict[str, str]], sandboxed: SandboxedService
) -> None:
    ref = await submit_ref(sandboxed)
    before = await counted(sandboxed, "forged")

    answer = await call_back(sandboxed.callback_url("replicate", ref), forge(sign(BODY)))

    assert (answer.status_code, answer.content) == (404, b"")
    assert await counted(sandboxed, "forged") == before + 1
    assert await stored(sandboxed) == []


async def test_the_vendors_signature_does_not_replace_that_of_the_url(
    sandboxed: SandboxedService,
) -> None:
    ref = await submit_ref(sandboxed)
    other = await submit_ref(sandboxed)
    query = sandboxed.callback_url("replicate", other).partition("?")[2]

    for unsigned in (
        f"{sandboxed.url}/callbacks/replicate/{ref}",
        f"{sandboxed.url}/callbacks/replicate/{ref}?{query}",
        f"{sandboxed.url}/callbacks/replicate",
    ):
        answer = await call_back(unsigned, sign(BODY))
        assert (answer.status_code, answer.content) == (404, b"")

    assert await stored(sandboxed) == []


async def test_a_callback_is_refused_for_later_while_the_keys_cannot_be_fetched(
    service: Service, clock: MovableClock
) -> None:
    ref = await submit_ref(service)
    url = service.callback_url("replicate", ref)

    first = await call_back(url, sign(BODY))
    clock.advance(61 * SECOND)
    second = await call_back(url, sign(BODY))

    for answer in (first, second):
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["code"] == "unavailable"
    assert await stored(service) == []


async def test_the_keys_are_not_asked_for_by_requests_at_unsigned_urls(
    sandboxed: SandboxedService,
) -> None:
    ref = await submit_ref(sandboxed)

    await call_back(f"{sandboxed.url}/callbacks/replicate/{ref}?t=1.abc", sign(BODY))

    requests = (await sandboxed.ledger())["requests"]
    assert "GET /replicate/v1/webhooks/default/secret" not in requests


async def test_the_success_of_luma_is_exactly_200_and_of_others_204(service: Service) -> None:
    job = await service.submit("luma", "generations.video", {"prompt": "a bell", "model": "ray-2"})
    dreaming = {"id": "123e4567", "state": "dreaming"}

    answers = [
        await service.call_back("luma", job["ref"], dreaming),
        await service.call_back("luma", job["ref"], dreaming),
        await service.call_back("luma", job["ref"], b"<html>"),
    ]

    assert answers == [200, 200, 400]
    assert (await service.job(job["id"]))["status"] == "running"
