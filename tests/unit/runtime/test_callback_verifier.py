"""The verifier of vendors' signatures, against a real server that has the keys."""

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.domain.primitives.errors import Unavailable
from service.domain.primitives.timestamps import SECOND
from service.providers.kit.signatures import SharedSecret, StandardWebhooks
from service.runtime.clients.callback_verifier import (
    FRESH_SECONDS,
    MAX_AGE_SECONDS,
    RETRY_SECONDS,
    CallbackVerifier,
)
from service.runtime.clients.provider_client import ProviderClient
from service.runtime.settings import ProviderAccount
from tests.support.movable_clock import MovableClock
from tests.support.service_harness import eventually, serving

pytestmark = pytest.mark.anyio

BODY = b'{"id": "p1", "status": "succeeded"}'
OLD, NEW = b"the first webhook secret", b"the second webhook secret"


class Vendor:
    """Serves its webhook secret and signs with it; *status* is that of the response."""

    def __init__(self, clock: MovableClock) -> None:
        self.secret, self.status, self.requests = OLD, 200, 0
        self.tokens: list[str | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._clock = clock
        self.app = Starlette(routes=[Route("/secret", self._show)])

    async def _show(self, request: Request) -> Response:
        self.requests += 1
        self.tokens.append(request.headers.get("authorization"))
        await self.gate.wait()
        key = f"whsec_{base64.b64encode(self.secret).decode()}"
        return JSONResponse({"key": key}, self.status)

    def sign(self, secret: bytes | None = None, body: bytes = BODY) -> dict[str, str]:
        sent_at = str(self._clock() // SECOND)
        message = f"msg_1.{sent_at}.".encode() + body
        digest = hmac.digest(secret or self.secret, message, hashlib.sha256)
        return {
            "webhook-id": "msg_1",
            "webhook-timestamp": sent_at,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }

    def pass_seconds(self, seconds: int) -> None:
        self._clock.advance(seconds * SECOND)


@asynccontextmanager
async def verifying(vendor: Vendor, clock: MovableClock) -> AsyncIterator[CallbackVerifier]:
    async with serving(vendor.app) as url:
        account = ProviderAccount(base_url=url, token="t0ken", max_jobs=1)  # noqa: S106
        client = ProviderClient(account, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        signature = StandardWebhooks(secret_path="/secret")  # noqa: S106 - a path
        verifier = CallbackVerifier(signature, account, client, clock)
        try:
            yield verifier
        finally:
            await verifier.close()
            await client.close()


@pytest.fixture
def vendor(clock: MovableClock) -> Vendor:
    clock.stop()
    return Vendor(clock)


@pytest.fixture
async def verifier(vendor: Vendor, clock: MovableClock) -> AsyncIterator[CallbackVerifier]:
    async with verifying(vendor, clock) as verifier:
        yield verifier


async def test_the_keys_are_fetched_with_the_credential_for_the_first_callback_only(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    assert await verifier.verify(vendor.sign(), BODY)
    assert await verifier.verify(vendor.sign(), BODY)

    assert vendor.tokens == ["Bearer t0ken"]


async def test_callbacks_that_arrive_together_wait_for_one_request(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    results = await asyncio.gather(*(verifier.verify(vendor.sign(), BODY) for _ in range(10)))

    assert results == [True] * 10
    assert vendor.requests == 1


async def test_a_caller_that_disconnects_does_not_end_the_request_of_the_others(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    vendor.gate.clear()
    first = asyncio.create_task(verifier.verify(vendor.sign(), BODY))
    second = asyncio.create_task(verifier.verify(vendor.sign(), BODY))

    async def has_arrived() -> bool:
        return vendor.requests == 1

    await eventually(has_arrived)
    first.cancel()
    vendor.gate.set()

    assert await second
    assert vendor.requests == 1


async def test_a_forged_signature_is_refused_and_causes_at_most_one_request_a_minute(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    forged = vendor.sign(b"a guess")
    for _ in range(5):
        assert not await verifier.verify(forged, BODY)
    assert not await verifier.verify(vendor.sign(), BODY + b" ")
    assert not await verifier.verify({}, BODY)
    assert vendor.requests == 1

    vendor.pass_seconds(RETRY_SECONDS)
    for _ in range(5):
        assert not await verifier.verify(vendor.sign(b"a guess"), BODY)
    assert vendor.requests == 2


async def test_a_changed_secret_is_followed_by_the_first_callback_that_it_signs(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    assert await verifier.verify(vendor.sign(), BODY)
    vendor.pass_seconds(RETRY_SECONDS)
    vendor.secret = NEW

    assert await verifier.verify(vendor.sign(), BODY)
    assert not await verifier.verify(vendor.sign(OLD), BODY)
    assert vendor.requests == 2


async def test_a_secret_that_changes_twice_in_a_minute_is_followed_after_the_minute(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    assert await verifier.verify(vendor.sign(), BODY)
    vendor.secret = NEW

    assert not await verifier.verify(vendor.sign(), BODY)
    assert vendor.requests == 1

    vendor.pass_seconds(RETRY_SECONDS)
    assert await verifier.verify(vendor.sign(), BODY)
    assert vendor.requests == 2


async def test_keys_are_renewed_after_an_hour_while_the_old_ones_serve(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    assert await verifier.verify(vendor.sign(), BODY)
    vendor.pass_seconds(FRESH_SECONDS + 1)
    vendor.gate.clear()

    assert await verifier.verify(vendor.sign(), BODY)

    async def was_asked_again() -> bool:
        return vendor.requests == 2

    await eventually(was_asked_again)
    vendor.gate.set()


async def test_keys_that_cannot_be_renewed_serve_for_a_day(
    vendor: Vendor, verifier: CallbackVerifier
) -> None:
    assert await verifier.verify(vendor.sign(), BODY)
    vendor.status = 500
    vendor.pass_seconds(MAX_AGE_SECONDS)
    assert await verifier.verify(vendor.sign(), BODY)

    vendor.pass_seconds(RETRY_SECONDS)
    with pytest.raises(Unavailable):
        await verifier.verify(vendor.sign(), BODY)


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_without_keys_no_callback_is_judged_and_the_vendor_is_asked_once_a_minute(
    status: int, vendor: Vendor, verifier: CallbackVerifier
) -> None:
    vendor.status = status
    for _ in range(3):
        with pytest.raises(Unavailable):
            await verifier.verify(vendor.sign(), BODY)
    assert vendor.requests == 1

    vendor.status = 200
    vendor.pass_seconds(RETRY_SECONDS)
    assert await verifier.verify(vendor.sign(), BODY)


async def test_a_vendor_that_cannot_be_reached_leaves_no_keys(clock: MovableClock) -> None:
    vendor = Vendor(clock)
    async with verifying(vendor, clock) as verifier:
        pass

    with pytest.raises(Unavailable):
        await verifier.verify(vendor.sign(), BODY)


@pytest.mark.parametrize(("secret", "valid"), [("s3cret-of-the-vendor", True), (None, False)])
async def test_a_shared_secret_needs_no_request(
    secret: str | None, clock: MovableClock, *, valid: bool
) -> None:
    account = ProviderAccount(
        base_url="http://127.0.0.1:1", token=None, max_jobs=1, webhook_secret=secret
    )
    client = ProviderClient(account, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    verifier = CallbackVerifier(SharedSecret(header="x-secret"), account, client, clock)

    assert await verifier.verify({"x-secret": "s3cret-of-the-vendor"}, BODY) is valid

    await verifier.close()
    await client.close()
