import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from service.domain.primitives.timestamps import SECOND
from service.domain.security.api_keys import constant_time_equal, key_hash
from service.domain.security.callback_signer import CallbackSigner
from service.domain.security.webhook_signature import (
    SECRET_BYTES,
    new_secret,
    secret_bytes,
    webhook_signature,
)
from service.runtime.secret_box import SecretBox
from tests.support.factories import T0, a_ref

OLD, NEW, UNKNOWN = "old-key-" * 4, "new-key-" * 4, "unknown-" * 4
REF, OTHER = a_ref(1), a_ref(2)
SIGNER = CallbackSigner([NEW])
CENTURY = 100 * 365 * 86_400 * SECOND


def now_in_seconds() -> int:
    return int(datetime.now(UTC).timestamp())


def test_a_token_is_valid_for_its_url() -> None:
    token = SIGNER.sign("useapi", REF, T0)

    assert SIGNER.verify("useapi", REF, token)


@pytest.mark.parametrize(("provider", "ref"), [("runware", REF), ("useapi", OTHER), ("", "")])
def test_a_token_is_not_valid_for_another_url(provider: str, ref: str) -> None:
    token = SIGNER.sign("useapi", REF, T0)

    assert not SIGNER.verify(provider, ref, token)


@pytest.mark.parametrize("at", [0, T0 - CENTURY // 2, T0 + CENTURY])
def test_a_token_of_any_age_is_valid(at: int) -> None:
    token = SIGNER.sign("useapi", REF, at)

    assert SIGNER.verify("useapi", REF, token)


def test_the_timestamp_of_a_token_is_signed_too() -> None:
    early, late = (SIGNER.sign("useapi", REF, at) for at in (T0, T0 + SECOND))
    forged = f"{early.split('.')[0]}.{late.split('.')[1]}"

    assert not SIGNER.verify("useapi", REF, forged)


def test_a_token_of_an_older_key_is_still_valid() -> None:
    token = CallbackSigner([OLD]).sign("useapi", REF, T0)

    assert CallbackSigner([OLD, NEW]).verify("useapi", REF, token)


def test_the_newest_key_signs() -> None:
    token = CallbackSigner([OLD, NEW]).sign("useapi", REF, T0)

    assert CallbackSigner([NEW]).verify("useapi", REF, token)
    assert not CallbackSigner([OLD]).verify("useapi", REF, token)


def test_a_token_of_a_removed_key_is_not_valid() -> None:
    token = CallbackSigner([UNKNOWN]).sign("useapi", REF, T0)

    assert not CallbackSigner([OLD, NEW]).verify("useapi", REF, token)


def test_a_token_is_short_and_needs_no_percent_encoding() -> None:
    token = SIGNER.sign("useapi", REF, T0 + CENTURY)

    assert len(token) < 64
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b", "a.b.c", "=.=", "\x00", "\ud800", "é.é", "A" * 100_000]
)
def test_an_invalid_token_is_refused(token: str) -> None:
    assert not SIGNER.verify("useapi", REF, token)


@given(st.text(), st.text(), st.text(st.characters(), max_size=200))
def test_no_text_raises_an_error_or_is_valid(provider: str, ref: str, token: str) -> None:
    assert not SIGNER.verify(provider, ref, token)


@given(st.integers(0, 60), st.characters())
def test_a_token_with_one_changed_character_never_raises(place: int, character: str) -> None:
    token = SIGNER.sign("useapi", REF, T0)
    changed = token[:place] + character + token[place + 1 :]

    verified = SIGNER.verify("useapi", REF, changed)

    assert verified or changed != token


@given(st.integers(0, 2**62))
def test_a_token_made_at_any_time_is_valid(at: int) -> None:
    assert SIGNER.verify("runware", REF, SIGNER.sign("runware", REF, at))


def test_a_signature_equals_the_published_test_vector() -> None:
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signature = webhook_signature(
        key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.text())
def test_the_reference_library_accepts_our_signature(text: str) -> None:
    secret, at = new_secret(bytes(range(SECRET_BYTES))), now_in_seconds()
    body = json.dumps([text]).encode()
    signature = webhook_signature(secret_bytes(secret), "evt_1", at, body)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(at),
        "webhook-signature": signature,
    }

    assert Webhook(secret).verify(body, headers) == [text]


def test_the_reference_library_refuses_a_changed_body() -> None:
    secret, at = new_secret(bytes(SECRET_BYTES)), now_in_seconds()
    signature = webhook_signature(secret_bytes(secret), "evt_1", at, b"{}")
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(at), "webhook-signature": signature}

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(b"{ }", headers)


def test_a_new_secret_encodes_its_random_bytes() -> None:
    random_bytes = bytes(range(SECRET_BYTES))

    assert secret_bytes(new_secret(random_bytes)) == random_bytes


@pytest.mark.parametrize("secret", ["whsec_a", "whsec_ab*d", "whsec_abcd\n", "whsec_é"])
def test_a_secret_that_is_not_base64_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match=r"base64|ASCII"):
        secret_bytes(secret)


def test_an_encrypted_secret_can_be_decrypted() -> None:
    secret_box = SecretBox([NEW])

    sealed = secret_box.seal("whsec_abc", T0)

    assert "abc" not in sealed
    assert secret_box.open(sealed) == "whsec_abc"


def test_the_newest_key_encrypts_and_every_key_decrypts() -> None:
    old, both, new = SecretBox([OLD]), SecretBox([OLD, NEW]), SecretBox([NEW])

    assert both.open(old.seal("s", T0)) == "s"
    assert new.open(both.seal("s", T0)) == "s"


@pytest.mark.parametrize(
    "sealed",
    ["", "garbage", SecretBox([UNKNOWN]).seal("s", T0)],
    ids=["empty", "garbage", "unknown key"],
)
def test_a_secret_that_no_key_decrypts_is_an_error_without_the_secret(sealed: str) -> None:
    with pytest.raises(ValueError, match="no key of BELFRY_SECRET_KEYS"):
        SecretBox([OLD, NEW]).open(sealed)


def test_the_encryption_key_is_not_the_signing_key() -> None:
    plain = base64.urlsafe_b64encode(NEW.encode())

    with pytest.raises(ValueError, match="no key"):
        SecretBox([plain.decode()]).open(SecretBox([NEW]).seal("s", T0))


def test_the_hash_of_a_key_does_not_contain_the_key() -> None:
    assert key_hash("bfy_1") == key_hash("bfy_1") != key_hash("bfy_2")
    assert "bfy_1" not in key_hash("bfy_1")


@pytest.mark.parametrize(
    ("given_key", "equal"), [("bfy_1", True), ("bfy_2", False), ("", False), ("é", False)]
)
def test_keys_are_compared_in_full(given_key: str, *, equal: bool) -> None:
    assert constant_time_equal(given_key, "bfy_1") is equal
