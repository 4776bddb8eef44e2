"""Ed25519 signatures with published keys, as fal and Ideogram make them."""

import base64
import hashlib
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from service.domain.primitives.timestamps import SECOND
from service.providers import registry
from service.providers.protocol import CallbackSignature, Reply

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
NOW = 1_800_000_000
BODY = b'{"request_id":"r1"}'
HEADERS = {
    "fal": ("x-fal-webhook", "request-id"),
    "ideogram": ("x-ideogram-webhook", "generation-id"),
}


def signature_of(provider: str) -> CallbackSignature:
    callbacks = registry()[provider].callbacks
    assert callbacks is not None
    assert callbacks.signature is not None
    return callbacks.signature


def signed(provider: str, sent_at: str = str(NOW), key: Ed25519PrivateKey = KEY) -> dict[str, str]:
    """The headers of a callback with BODY, by the vendors' pages."""
    prefix, name = HEADERS[provider]
    message = f"r1\nuser\n{sent_at}\n{hashlib.sha256(BODY).hexdigest()}".encode()
    return {
        f"{prefix}-{name}": "r1",
        f"{prefix}-user-id": "user",
        f"{prefix}-timestamp": sent_at,
        f"{prefix}-signature": key.sign(message).hex(),
    }


def is_valid(provider: str, headers: dict[str, str], body: bytes = BODY) -> bool:
    return signature_of(provider).is_valid([PUBLIC], headers, body, NOW * SECOND)


def read_keys(body: Any, status: int = 200) -> list[bytes]:
    reply = Reply(status=status, headers={}, body=msgspec.json.encode(body))
    return list(signature_of("fal").read_keys(reply))


@pytest.mark.parametrize("provider", HEADERS)
def test_a_signed_callback_is_valid(provider: str) -> None:
    assert is_valid(provider, signed(provider))


@pytest.mark.parametrize("provider", HEADERS)
def test_a_signature_counts_for_its_own_body_headers_and_key_only(provider: str) -> None:
    headers = signed(provider)

    assert not is_valid(provider, headers, BODY + b" ")
    assert not is_valid(provider, signed(provider, key=OTHER))
    for name in headers:
        changed = "r2" if not name.endswith("signature") else "00" * 64
        assert not is_valid(provider, headers | {name: changed})
        assert not is_valid(provider, {one: headers[one] for one in headers if one != name})


@pytest.mark.parametrize(
    ("seconds", "valid"), [(-300, True), (300, True), (-301, False), (301, False)]
)
def test_a_callback_must_be_at_most_five_minutes_old_or_early(seconds: int, *, valid: bool) -> None:
    assert is_valid("fal", signed("fal", str(NOW + seconds))) is valid


@pytest.mark.parametrize("sent_at", ["", "now", "1e9", "-1", "٣", "1" * 16, f" {NOW}", f"{NOW}.0"])
def test_a_time_that_is_no_number_of_seconds_is_refused(sent_at: str) -> None:
    assert not is_valid("fal", signed("fal", sent_at))


@given(st.text(max_size=140))
def test_no_text_is_a_signature(text: str) -> None:
    assert not is_valid("fal", signed("fal") | {"x-fal-webhook-signature": text})


def test_any_key_of_the_set_may_have_signed() -> None:
    keys = [OTHER.public_key().public_bytes_raw(), PUBLIC]

    assert signature_of("fal").is_valid(keys, signed("fal"), BODY, NOW * SECOND)
    assert not signature_of("fal").is_valid([], signed("fal"), BODY, NOW * SECOND)


def test_the_key_set_is_read_with_padding_or_without() -> None:
    encoded = base64.urlsafe_b64encode(PUBLIC).decode()
    keys = [{"kty": "OKP", "crv": "Ed25519", "x": one} for one in (encoded, encoded.rstrip("="))]

    assert read_keys({"keys": keys}) == [PUBLIC, PUBLIC]


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], {}, "x", {"keys": None}, {"keys": [None, 7, "x"]}),
        {"keys": [{"kty": "RSA", "x": base64.urlsafe_b64encode(PUBLIC).decode()}]},
        {"keys": [{"kty": "OKP", "x": "ä"}, {"kty": "OKP", "x": "AAAA"}, {"kty": "OKP"}]},
    ],
)
def test_a_set_without_a_usable_key_has_none(body: Any) -> None:
    assert read_keys(body) == []


def test_the_body_of_an_error_has_no_keys() -> None:
    keys = {"keys": [{"kty": "OKP", "x": base64.urlsafe_b64encode(PUBLIC).decode()}]}

    assert read_keys(keys, status=503) == []


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ("fal", "https://rest.fal.ai/.well-known/jwks.json"),
        ("ideogram", "https://api.ideogram.ai/v1/.well-known/jwks.json"),
    ],
)
def test_the_keys_are_fetched_from_the_vendors_documented_url(provider: str, url: str) -> None:
    account = registry()[provider].account
    call = signature_of(provider).keys_request(account.keys_url)

    assert call is not None
    assert (call.method, call.path, call.body) == ("GET", url, None)
