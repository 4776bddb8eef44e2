import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.security.redaction import MAX_URLS, public_headers, redacted_json, redacted_text
from tests.support.service_harness import Service

URL = "https://belfry.example/callbacks/useapi/ref?t=abc.def"
HIDDEN = "https://belfry.example/callbacks/useapi/ref?[redacted]"


@pytest.mark.parametrize("body", [None, b""])
def test_an_empty_body_is_rendered_as_null(body: bytes | None) -> None:
    assert redacted_json(body) == b"null"


@pytest.mark.parametrize(
    "name",
    [
        *("token", "apiKey", "api_key", "API_KEY", "clientSecret", "password", "Authorization"),
        *("discord_token", "accessTokenValue", "a\ntoken", "token\n"),
    ],
)
def test_a_field_whose_name_suggests_a_secret_is_hidden(name: str) -> None:
    shown = json.loads(redacted_json(json.dumps({"a": [{name: "s3cret"}]}).encode()))

    assert shown == {"a": [{name: "[redacted]"}]}


@pytest.mark.parametrize(
    "value", [{"tokens": 5}, {"max_tokens": 7}, {"secret": None}, {"key": "v"}]
)
def test_a_number_or_null_under_a_secret_name_is_shown(value: dict[str, object]) -> None:
    assert json.loads(redacted_json(json.dumps(value).encode())) == value


def test_the_signature_of_a_callback_url_is_hidden_at_every_place() -> None:
    body = json.dumps({"replyUrl": URL, "request": {"urls": [f"see {URL}&x=1"]}, URL: 1}).encode()

    shown = json.loads(redacted_json(body))

    assert shown == {"replyUrl": HIDDEN, "request": {"urls": [f"see {HIDDEN}"]}, HIDDEN: 1}


@pytest.mark.parametrize(
    "text",
    [
        "https://b.example/callbacks/useapi/ref?x=1&t=s3cret",
        "https://b.example/callbacks/useapi/ref?x=1\\u0026t=s3cret",
        r"https:\/\/b.example\/callbacks\/useapi\/ref?t=s3cret",
        r"https:\\/\\/b.example\\/callbacks\\/useapi\\/ref?t=s3cret",
        r"https:\u002f\u002fb.example\u002fcallbacks\u002fuseapi\u002fref\u003ft\u003ds3cret",
        "https://a.example/?next=https%3A%2F%2Fb.example%2Fcallbacks%2Fuseapi%2Fref%3Ft%3Ds3cret",
        "https%3a%2f%2fb.example%2fcallbacks%2fuseapi%2fref%3fx%3d1%26t%3ds3cret",
        "https%253A%252F%252Fb.example%252Fcallbacks%252Fuseapi%252Fref%253Ft%253Ds3cret",
        "https://b.example/callbacks//callbacks/useapi/ref?t=s3cret",
        "https://b.example/callbacks/a%3Fb/ref?t=s3cret",
        "https://b.example/callbacks/" + "a" * 10_000 + "?t=s3cret",
        r"{\"replyUrl\":\"https:\\/\\/b.example\\/callbacks\\/useapi\\/ref?t=s3cret\"}",
    ],
)
def test_the_signature_is_hidden_in_every_encoding_of_a_callback_url(text: str) -> None:
    shown = [redacted_json(json.dumps({"a": text}).encode()), redacted_json(text.encode())]

    assert not any(b"s3cret" in one for one in shown)
    assert all(b"[redacted]" in one for one in shown)


@pytest.mark.parametrize(
    "text",
    [
        "https://b.example/callbacks/useapi/ref",
        "https://example.com/my-callbacks?page=2",
        "callbacks/seconds?",
        "/callbacks/ ?t=5",
    ],
)
def test_text_without_the_query_of_a_callback_url_is_not_changed(text: str) -> None:
    assert json.loads(redacted_json(json.dumps([text]).encode())) == [text]


def test_a_body_with_too_many_callback_urls_hides_all_strings_with_one() -> None:
    body = json.dumps({"urls": [URL] * (MAX_URLS + 1), "text": "a lighthouse"}).encode()

    shown = json.loads(redacted_json(body))

    assert shown == {"urls": ["[redacted]"] * (MAX_URLS + 1), "text": "a lighthouse"}


def test_a_body_that_is_not_json_is_shown_as_text() -> None:
    assert json.loads(redacted_json(b"<html>oops " + URL.encode())) == f"<html>oops {HIDDEN}"


def test_text_is_shown_without_signatures_and_without_nul() -> None:
    shown = redacted_text(b'{"replyUrl":"' + URL.encode() + b'"}\x00\xff')

    assert shown == f'{{"replyUrl":"{HIDDEN}"}}' + "\N{REPLACEMENT CHARACTER}" * 2


@given(st.binary())
def test_any_bytes_can_be_rendered(body: bytes) -> None:
    json.loads(redacted_json(body))

    assert "\x00" not in redacted_text(body)


@pytest.mark.anyio
async def test_a_mebibyte_of_callback_paths_is_stored_and_rendered_within_a_second(
    service: Service,
) -> None:
    given = {"text_prompt": "a lighthouse", "note": "/callbacks/" * (2**20 // 11)}
    start = time.thread_time()

    job = await service.submit("useapi", "frames.create", given)
    shown = await service.job(job["id"])

    assert time.thread_time() - start < 1.0
    assert shown["input"] == {"text_prompt": "a lighthouse", "note": "[redacted]"}


def test_headers_are_kept_without_credentials() -> None:
    headers = [
        ("Content-Type", "application/json"),
        ("webhook-id", "msg_1"),
        *(
            (name, "s3cret")
            for name in ("Authorization", "Cookie", "X-Api-Key", "x-key", "X-Token")
        ),
    ]

    assert public_headers(headers) == {"content-type": "application/json", "webhook-id": "msg_1"}


def test_headers_beyond_8_kib_are_not_kept() -> None:
    headers = [(f"x-{n}", "v" * 1000) for n in range(20)]

    assert list(public_headers(headers)) == [f"x-{n}" for n in range(8)]


def test_values_that_are_no_text_are_shown_as_they_are() -> None:
    body = b'[1,null,[true,2.5],{"a":[0]}]'

    assert redacted_json(body) == body
