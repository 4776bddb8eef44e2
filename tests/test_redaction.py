import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.redaction import redacted_json, redacted_text

URL = "https://belfry.example/callbacks/useapi/ref?t=abc.def"
HIDDEN = "https://belfry.example/callbacks/useapi/ref?t=[redacted]"


@pytest.mark.parametrize("body", [None, b""])
def test_nothing_is_shown_as_null(body: bytes | None) -> None:
    assert redacted_json(body) == b"null"


@pytest.mark.parametrize(
    "name",
    [
        *("token", "apiKey", "api_key", "API_KEY", "clientSecret", "password", "Authorization"),
        *("discord_token", "accessTokenValue"),
    ],
)
def test_a_field_that_is_named_like_a_secret_is_hidden(name: str) -> None:
    shown = json.loads(redacted_json(json.dumps({"a": [{name: "hush"}]}).encode()))

    assert shown == {"a": [{name: "[redacted]"}]}


@pytest.mark.parametrize(
    "value", [{"tokens": 5}, {"max_tokens": 7}, {"secret": None}, {"key": "v"}]
)
def test_what_only_counts_is_shown(value: dict[str, object]) -> None:
    assert json.loads(redacted_json(json.dumps(value).encode())) == value


def test_the_signature_of_our_callback_url_is_hidden_wherever_it_stands() -> None:
    body = json.dumps({"replyUrl": URL, "request": {"urls": [f"see {URL}&x=1"]}}).encode()

    shown = json.loads(redacted_json(body))

    assert shown == {"replyUrl": HIDDEN, "request": {"urls": [f"see {HIDDEN}&x=1"]}}


def test_what_is_no_json_is_shown_as_text() -> None:
    assert json.loads(redacted_json(b"<html>oops " + URL.encode())) == f"<html>oops {HIDDEN}"


def test_text_is_shown_without_signatures_and_without_nul() -> None:
    shown = redacted_text(b'{"replyUrl":"' + URL.encode() + b'"}\x00\xff')

    assert shown == f'{{"replyUrl":"{HIDDEN}"}}' + "\N{REPLACEMENT CHARACTER}" * 2


@given(st.binary())
def test_any_bytes_can_be_shown(body: bytes) -> None:
    json.loads(redacted_json(body))

    assert "\x00" not in redacted_text(body)
