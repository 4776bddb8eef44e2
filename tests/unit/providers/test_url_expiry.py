"""The end of a signed URL is read where the URL tells it for certain."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.kit.url_expiry import url_expiry

HOST = "https://files.example.com/1.png"


def token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.signature"


@pytest.mark.parametrize(
    ("query", "end"),
    [
        ("Expires=1767225600&Signature=x&Key-Pair-Id=K", "2026-01-01T00:00:00.000Z"),
        ("AWSAccessKeyId=A&Expires=1767225600&Signature=x", "2026-01-01T00:00:00.000Z"),
        ("exp=1767225600&sig=x", "2026-01-01T00:00:00.000Z"),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600", "2026-01-01T01:00:00.000Z"),
        ("X-Goog-Date=20260101T000000Z&X-Goog-Expires=86400", "2026-01-02T00:00:00.000Z"),
        (f"_jwt={token({'exp': 1767225600})}", "2026-01-01T00:00:00.000Z"),
        (f"_jwt={token({'exp': 1767225600.0, 'a': '??'})}", "2026-01-01T00:00:00.000Z"),
    ],
)
def test_the_end_of_a_signed_url_is_read(query: str, end: str) -> None:
    assert url_expiry(f"{HOST}?{query}") == end


@pytest.mark.parametrize(
    "query",
    [
        "",
        "Expires=1767225600",
        "exp=soon&sig=x",
        "Expires=soon&Signature=x",
        "Expires=0&Signature=x",
        "Expires=253402300800&Signature=x",
        "X-Amz-Expires=3600",
        "X-Amz-Date=20260101T000000Z",
        "X-Amz-Date=20261301T000000Z&X-Amz-Expires=3600",
        "X-Amz-Date=yesterday&X-Amz-Expires=3600",
        "X-Amz-Date=20260101T000000Z&X-Amz-Expires=9223372036854775807",
        "_jwt=abc",
        "_jwt=a.b.c",
        "_jwt=a.%C3%A9.c",
        f"_jwt={token({'exp': 'soon'})}",
        f"_jwt={token([])}",
        f"exp={1767225600}",
        "Expires=1767225600&Signature=" + "x" * 9000,
        "&".join(f"a{number}=1" for number in range(60)) + "&Expires=1767225600&Signature=x",
    ],
)
def test_another_url_has_no_known_end(query: str) -> None:
    assert url_expiry(f"{HOST}?{query}") is None


def test_a_malformed_url_has_no_known_end() -> None:
    assert url_expiry("https://[x?Expires=1767225600&Signature=x") is None


@given(st.text())
def test_any_text_has_an_end_or_none(url: str) -> None:
    url_expiry(url)
    url_expiry(f"{HOST}?Signature=x&Expires={url}&X-Amz-Date={url}&X-Amz-Expires=1&_jwt={url}")
