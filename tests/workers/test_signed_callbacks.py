"""Callbacks that a vendor signs: its published keys are fetched rarely and verify for a day."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.primitives.timestamps import SECOND
from service.runtime.clients.callback_verifier import FRESH_SECONDS, MAX_AGE_SECONDS, RETRY_SECONDS
from service.runtime.open_streams import HEARTBEAT_SECONDS
from tests.support.movable_clock import MovableClock
from tests.support.receivers import Answer, Conversation, Receiver, json_answer, receiving, status
from tests.support.service_harness import (
    Json,
    Service,
    eventually,
    plain_client,
    providers_at,
    running_service,
)

pytestmark = pytest.mark.anyio

IMAGE = {"url": "https://v3.fal.media/files/a/image.png", "content_type": "image/png"}


class Vendor:
    """fal: takes every request, and publishes the keys of *signers* unless it is *down*."""

    def __init__(self, receiver: Receiver) -> None:
        self.url = receiver.url.removesuffix(receiver.path)
        self.signers = [Ed25519PrivateKey.generate()]
        self.down: Answer | None = None
        self.fetches = 0
        self.credentials: set[str | None] = set()
        receiver.otherwise, receiver.path = self._answer, ""

    async def _answer(self, conversation: Conversation) -> None:
        received = conversation.received
        if "jwks" not in received.path:
            await json_answer(200, {"request_id": str(uuid4())})(conversation)
            return
        self.fetches += 1
        self.credentials.add(received.headers.get("authorization"))
        public = [key.public_key().public_bytes_raw() for key in self.signers]
        keys = [
            {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(key).decode()}
            for key in public
        ]
        await (self.down or json_answer(200, {"keys": keys}))(conversation)

    def sign(self, body: bytes, at: int, signer: Ed25519PrivateKey | None = None) -> dict[str, str]:
        """The headers of a callback that is sent at *at* (microseconds)."""
        sent_at, digest = str(at // SECOND), hashlib.sha256(body).hexdigest()
        signature = (signer or self.signers[-1]).sign(f"r1\nuser\n{sent_at}\n{digest}".encode())
        return {
            "X-Fal-Webhook-Request-Id": "r1",
            "X-Fal-Webhook-User-Id": "user",
            "X-Fal-Webhook-Timestamp": sent_at,
            "X-Fal-Webhook-Signature": signature.hex(),
        }


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with receiving() as receiver:
        yield Vendor(receiver)


@pytest.fixture
async def service(database_url: str, vendor: Vendor, clock: MovableClock) -> AsyncIterator[Service]:
    env = providers_at(vendor.url)
    async with running_service(database_url, HEARTBEAT_SECONDS, clock, **env) as service:
        yield service


class Request:
    """A request at fal, and the callback about it."""

    def __init__(self, service: Service, vendor: Vendor, job: Json) -> None:
        self.service, self.vendor, self.job = service, vendor, job
        result = {"request_id": job["provider_task_id"], "status": "OK"}
        self.body = json.dumps({**result, "payload": {"images": [IMAGE]}}).encode()

    async def call_back(self, signer: Ed25519PrivateKey | None = None) -> int:
        """Send the callback as fal does."""
        headers = self.vendor.sign(self.body, self.service.context.clock(), signer)
        return await self.send(self.body, headers)

    async def send(self, body: bytes, headers: dict[str, str]) -> int:
        url = self.service.callback_url("fal", self.job["ref"])
        async with plain_client() as client:
            response = await client.post(url, content=body, headers=headers)
        assert (response.status_code == 503) is ("retry-after" in response.headers)
        return response.status_code

    async def status(self) -> str:
        return str((await self.service.job(self.job["id"]))["status"])


async def submitted(service: Service, vendor: Vendor) -> Request:
    job = await service.submit("fal", "fal-ai/flux/dev", {"prompt": "a cat"})
    return Request(service, vendor, await service.reached(job["id"], "submitted"))


async def forged_count(service: Service) -> float:
    lines = (await service.http.get("/metrics")).text.splitlines()
    name = 'belfry_callbacks_total{provider="fal",verdict="forged"} '
    return next((float(line[len(name) :]) for line in lines if line.startswith(name)), 0)


async def test_a_signed_callback_ends_its_job(service: Service, vendor: Vendor) -> None:
    request = await submitted(service, vendor)

    answer = await request.call_back()
    (stored,) = (await service.get("/v1/callbacks", job=request.job["id"]))["data"]
    shown = await service.get(f"/v1/callbacks/{stored['id']}")

    assert (answer, await request.status()) == (204, "succeeded")
    assert shown["headers"]["x-fal-webhook-request-id"] == "r1"
    assert not any("signature" in name for name in shown["headers"])


async def test_the_credential_is_not_sent_to_the_server_of_the_keys(
    service: Service, vendor: Vendor
) -> None:
    request = await submitted(service, vendor)

    await request.call_back()

    assert vendor.credentials == {None}


async def test_a_forged_signature_is_refused_before_the_database(
    service: Service, vendor: Vendor
) -> None:
    request, stranger = await submitted(service, vendor), Ed25519PrivateKey.generate()
    before, signed = await forged_count(service), vendor.sign(request.body, service.context.clock())

    answers = [
        await request.call_back(stranger),
        await request.send(request.body + b" ", signed),
        await request.send(request.body, signed | {"X-Fal-Webhook-Request-Id": "r2"}),
        await request.send(request.body, signed | {"X-Fal-Webhook-Timestamp": "1"}),
        await request.send(request.body, signed | {"X-Fal-Webhook-Signature": "zz"}),
        await request.send(request.body, {}),
    ]

    assert answers == [404] * 6
    assert await forged_count(service) == before + 6
    assert (await service.get("/v1/callbacks"))["data"] == []
    assert await request.status() == "submitted"
    assert await request.call_back() == 204


async def test_the_url_must_be_signed_by_us_too(service: Service, vendor: Vendor) -> None:
    request = await submitted(service, vendor)
    url = f"{service.url}/callbacks/fal/{request.job['ref']}"
    headers = vendor.sign(request.body, service.context.clock())

    async with plain_client() as client:
        for query in ("", "?t=x", "?t="):
            answer = await client.post(url + query, content=request.body, headers=headers)
            assert answer.status_code == 404

    assert vendor.fetches == 0


async def test_an_old_callback_is_refused(
    service: Service, vendor: Vendor, clock: MovableClock
) -> None:
    request = await submitted(service, vendor)
    headers = vendor.sign(request.body, clock())

    clock.advance(301 * SECOND)

    assert await request.send(request.body, headers) == 404
    assert await request.call_back() == 204


async def test_new_keys_of_the_vendor_are_followed_within_one_request(
    service: Service, vendor: Vendor, clock: MovableClock
) -> None:
    first, second = await submitted(service, vendor), await submitted(service, vendor)
    assert await first.call_back() == 204
    vendor.signers = [Ed25519PrivateKey.generate()]
    clock.advance((RETRY_SECONDS + 1) * SECOND)

    answer = await second.call_back()

    assert (answer, await second.status(), vendor.fetches) == (204, "succeeded", 2)


async def test_a_key_that_the_vendor_withdrew_verifies_nothing(
    service: Service, vendor: Vendor, clock: MovableClock
) -> None:
    first, second = await submitted(service, vendor), await submitted(service, vendor)
    (withdrawn,) = vendor.signers
    assert await first.call_back() == 204
    vendor.signers = [Ed25519PrivateKey.generate()]
    clock.advance((RETRY_SECONDS + 1) * SECOND)
    assert await second.call_back() == 204

    assert await second.call_back(withdrawn) == 404


async def test_the_keys_are_fetched_at_most_once_a_minute_whatever_arrives(
    service: Service, vendor: Vendor, clock: MovableClock
) -> None:
    clock.stop()
    request, stranger = await submitted(service, vendor), Ed25519PrivateKey.generate()

    fetches = []
    for _ in range(3):
        answers = await asyncio.gather(*(request.call_back(stranger) for _ in range(8)))
        assert answers == [404] * 8
        fetches.append(vendor.fetches)
        clock.advance(RETRY_SECONDS * SECOND - 1)
        assert await request.call_back(stranger) == 404
        assert vendor.fetches == fetches[-1]
        clock.advance(1)

    assert fetches == [1, 2, 3]


async def test_a_known_set_serves_for_a_day_while_the_vendors_server_is_down(
    service: Service, vendor: Vendor, clock: MovableClock
) -> None:
    clock.stop()
    first = await submitted(service, vendor)
    assert await first.call_back() == 204
    vendor.down = status(500)

    clock.advance(MAX_AGE_SECONDS * SECOND)
    last = await submitted(service, vendor)
    assert await last.call_back() == 204
    await _failed_fetch(vendor, 2)

    clock.advance((RETRY_SECONDS + 1) * SECOND)
    later = await submitted(service, vendor)
    assert await later.call_back() == 503
    assert await later.status() == "submitted"

    vendor.down = None
    assert await later.call_back() == 503  # the last try was just now
    clock.advance(RETRY_SECONDS * SECOND)
    assert await later.call_back() == 204


async def _failed_fetch(vendor: Vendor, number: int) -> None:
    async def look() -> bool:
        return vendor.fetches == number

    await eventually(look)


async def test_keys_are_renewed_beside_the_callbacks_that_they_verify(
    service: Service, vendor: Vendor, clock: MovableClock
) -> None:
    first, second = await submitted(service, vendor), await submitted(service, vendor)
    assert await first.call_back() == 204
    clock.advance((FRESH_SECONDS - 1) * SECOND)
    assert (await second.call_back(), vendor.fetches) == (204, 1)

    clock.advance(2 * SECOND)

    assert await second.call_back() == 204
    await _failed_fetch(vendor, 2)


@pytest.mark.parametrize(
    "answer",
    [status(503), status(200, b"<html>"), json_answer(200, {})],
    ids=["error", "page", "empty"],
)
async def test_without_any_key_a_callback_is_to_be_sent_again(
    answer: Answer, service: Service, vendor: Vendor, clock: MovableClock
) -> None:
    request = await submitted(service, vendor)
    vendor.down = answer

    answers = [await request.call_back(), await request.send(request.body, {})]
    vendor.down = None
    clock.advance(RETRY_SECONDS * SECOND)

    assert answers == [503, 503]
    assert (await service.get("/v1/callbacks"))["data"] == []
    assert (await request.call_back(), await request.status()) == (204, "succeeded")
