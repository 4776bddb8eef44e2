"""Signatures of vendors: the official library and an independent signer are the judges."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from service.domain.primitives.timestamps import SECOND
from service.providers.kit.signatures import (
    MAX_CLOCK_SKEW_SECONDS,
    PublishedEd25519,
    SharedSecret,
    StandardWebhooks,
)
from service.providers.protocol import Call, CallbackSignature, Reply

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the vector of the specification
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
SENT_AT = 1614265330
AT = SENT_AT * SECOND
BODY = b'{"test": 2432232314}'
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(SENT_AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
WEBHOOKS = StandardWebhooks(secret_path="/secret")  # noqa: S106 - a path
HEADER_NAMES = ("x-request-id", "x-user-id", "x-timestamp")
ED25519 = PublishedEd25519(headers=HEADER_NAMES, signature_header="x-signature")
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = PRIVATE_KEY.public_key().public_bytes_raw()
SHARED = SharedSecret(header="authorization", prefix="Bearer ")
SIGNATURES: tuple[CallbackSignature, ...] = (WEBHOOKS, ED25519, SHARED)


def reply(body: Any, status: int = 200) -> Reply:
    return Reply(status=status, headers={}, body=json.dumps(body).encode())


def ed25519_headers() -> dict[str, str]:
    """Sign the body as fal describes it."""
    values = ["request-1", "user-1", str(SENT_AT)]
    message = "\n".join([*values, hashlib.sha256(BODY).hexdigest()]).encode()
    headers = dict(zip(HEADER_NAMES, values, strict=True))
    return headers | {"x-signature": PRIVATE_KEY.sign(message).hex()}


def key_set(*keys: Mapping[str, str]) -> Reply:
    return reply({"keys": list(keys)})


def jwk(key: bytes = PUBLIC_KEY, kind: str = "OKP") -> dict[str, str]:
    encoded = base64.urlsafe_b64encode(key).decode().rstrip("=")
    return {"kty": kind, "crv": "Ed25519", "x": encoded}


def test_the_vector_of_the_specification_is_valid() -> None:
    assert WEBHOOKS.is_valid([KEY], VECTOR, BODY, AT)


@given(body=st.binary(), key=st.binary(min_size=1, max_size=64), message_id=st.uuids())
def test_what_the_official_library_signs_is_valid(body: bytes, key: bytes, message_id: Any) -> None:
    text = body.decode("latin-1")
    signed = Webhook(base64.b64encode(key).decode()).sign(
        msg_id=str(message_id), timestamp=datetime.fromtimestamp(SENT_AT, UTC), data=text
    )
    headers = {
        "webhook-id": str(message_id),
        "webhook-timestamp": str(SENT_AT),
        "webhook-signature": signed,
    }

    assert WEBHOOKS.is_valid([b"another key", key], headers, text.encode(), AT)
    assert not WEBHOOKS.is_valid([b"another key"], headers, text.encode(), AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "msg_of_another_webhook"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(SENT_AT + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "١٦١٤٢٦٥٣٣٠"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,%%%"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
    ],
)
def test_a_webhook_with_another_header_is_invalid(changes: dict[str, str]) -> None:
    assert not WEBHOOKS.is_valid([KEY], VECTOR | changes, BODY, AT)


@pytest.mark.parametrize("missing", list(VECTOR))
def test_a_webhook_without_one_of_the_headers_is_invalid(missing: str) -> None:
    headers = {name: value for name, value in VECTOR.items() if name != missing}

    assert not WEBHOOKS.is_valid([KEY], headers, BODY, AT)


def test_one_of_several_signatures_is_enough_among_the_first_twenty() -> None:
    valid, other = VECTOR["webhook-signature"], "v1,AAAA v1a,BBBB"
    late = " ".join([*["v1,AAAA"] * 20, valid])

    assert WEBHOOKS.is_valid([KEY], VECTOR | {"webhook-signature": f"{other} {valid}"}, BODY, AT)
    assert not WEBHOOKS.is_valid([KEY], VECTOR | {"webhook-signature": late}, BODY, AT)


def test_another_body_or_no_key_is_invalid() -> None:
    assert not WEBHOOKS.is_valid([KEY], VECTOR, BODY + b" ", AT)
    assert not WEBHOOKS.is_valid([], VECTOR, BODY, AT)


@pytest.mark.parametrize("signature", SIGNATURES[:2])
@pytest.mark.parametrize(
    ("skew", "valid"),
    [
        (0, True),
        (MAX_CLOCK_SKEW_SECONDS, True),
        (-MAX_CLOCK_SKEW_SECONDS, True),
        (MAX_CLOCK_SKEW_SECONDS + 1, False),
        (-MAX_CLOCK_SKEW_SECONDS - 1, False),
    ],
)
def test_a_signature_is_valid_for_five_minutes_around_its_time(
    signature: CallbackSignature, skew: int, *, valid: bool
) -> None:
    headers = VECTOR | ed25519_headers()

    assert signature.is_valid([KEY, PUBLIC_KEY], headers, BODY, AT + skew * SECOND) is valid


def test_the_secret_of_webhooks_is_read_with_and_without_its_prefix() -> None:
    assert WEBHOOKS.keys_request(None) == Call(method="GET", path="/secret")
    assert WEBHOOKS.read_keys(reply({"key": SECRET})) == [KEY]
    assert WEBHOOKS.read_keys(reply({"key": SECRET.removeprefix("whsec_")})) == [KEY]


@pytest.mark.parametrize(
    "answered",
    [
        reply({"key": SECRET}, 401),
        reply({"key": "whsec_"}),
        reply({"key": "whsec_%%%"}),
        reply({"key": 7}),
        reply({}),
        reply([]),
        Reply(status=200, headers={}, body=b"<html>"),
    ],
)
def test_an_answer_without_a_secret_has_no_key(answered: Reply) -> None:
    assert WEBHOOKS.read_keys(answered) == []


def test_a_signature_by_a_published_key_is_valid() -> None:
    assert ED25519.is_valid([bytes(32), PUBLIC_KEY], ed25519_headers(), BODY, AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"x-request-id": "request-2"},
        {"x-user-id": ""},
        {"x-timestamp": str(SENT_AT - 1)},
        {"x-signature": ""},
        {"x-signature": "00" * 64},
        {"x-signature": "00" * 63},
        {"x-signature": "signature"},
        {"x-signature": "é" * 128},
    ],
)
def test_a_callback_with_another_header_is_invalid(changes: dict[str, str]) -> None:
    assert not ED25519.is_valid([PUBLIC_KEY], ed25519_headers() | changes, BODY, AT)


def test_a_callback_with_another_body_or_signed_by_another_key_is_invalid() -> None:
    assert not ED25519.is_valid([PUBLIC_KEY], ed25519_headers(), BODY + b" ", AT)
    assert not ED25519.is_valid([bytes(range(32))], ed25519_headers(), BODY, AT)
    assert not ED25519.is_valid([b"short"], ed25519_headers(), BODY, AT)


def test_the_keys_of_a_key_set_are_those_of_ed25519() -> None:
    keys = key_set(jwk(), jwk(b"short"), jwk(kind="RSA"), {"kty": "OKP"}, {"kty": "OKP", "x": "%"})

    assert ED25519.keys_request("https://vendor.example/jwks") == Call(
        method="GET", path="https://vendor.example/jwks"
    )
    assert ED25519.read_keys(keys) == [PUBLIC_KEY]
    assert len(ED25519.read_keys(key_set(*[jwk()] * 50))) == 20


@pytest.mark.parametrize(
    "answered", [reply({}), reply([]), reply({"keys": 7}), reply({"keys": [1]}), reply({}, 500)]
)
def test_an_answer_without_a_key_set_has_no_keys(answered: Reply) -> None:
    assert ED25519.read_keys(answered) == []


def test_a_shared_secret_is_compared_with_its_header() -> None:
    headers = {"authorization": "Bearer s3cret-of-the-vendor"}

    assert SHARED.keys_request("https://vendor.example") is None
    assert SHARED.is_valid([b"s3cret-of-the-vendor"], headers, BODY, AT)
    assert not SHARED.is_valid([b"another"], headers, BODY, AT)
    assert not SHARED.is_valid([b"s3cret-of-the-vendor"], {}, BODY, AT)
    assert not SHARED.is_valid([], headers, BODY, AT)


@pytest.mark.parametrize("signature", SIGNATURES)
@given(
    headers=st.dictionaries(
        st.sampled_from([*VECTOR, *HEADER_NAMES, "x-signature", "authorization"]), st.text()
    )
)
def test_no_header_breaks_the_verification(
    signature: CallbackSignature, headers: dict[str, str]
) -> None:
    assert not signature.is_valid([KEY, PUBLIC_KEY], headers, BODY, AT)


def test_the_signer_of_these_tests_agrees_with_the_definition() -> None:
    message = f"{VECTOR['webhook-id']}.{SENT_AT}.".encode() + BODY
    digest = hmac.digest(KEY, message, hashlib.sha256)

    assert VECTOR["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
