"""Request bodies: limits, media types, and the paths of errors."""

import asyncio
from typing import Annotated

import msgspec
import pytest

from handlers.http.bodies import MAX_BODY, convert
from service.domain.primitives.errors import Invalid
from tests.support.service_harness import Json, Service

pytestmark = pytest.mark.anyio

NEW_JOB: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[int, msgspec.Meta(ge=1)]


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    one: Inner
    many: list[Inner] = []
    counts: dict[str, int] = {}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, "one"),
        ([], ""),
        ({"one": {}}, "one.number"),
        ({"one": {"number": 0}}, "one.number"),
        ({"one": {"number": "1"}}, "one.number"),
        ({"one": {"number": 1, "colour": 1}}, "one.colour"),
        ({"one": {"number": 1}, "many": [{"number": 1}, {}]}, "many[1].number"),
        ({"one": {"number": 1}, "many": {}}, "many"),
        ({"one": {"number": 1}, "counts": {1: 1}}, "counts"),
        ({"one": {"number": 1, "a\nb": 1}}, "one.a\nb"),
        ({"one": {"number": 1, " - at `$x": 1}}, "one. - at `$x"),
    ],
    ids=str,
)
def test_an_error_has_the_path_of_its_field(value: object, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        convert(value, Outer)

    assert [error.path for error in caught.value.errors] == [path]


def test_the_path_of_an_error_begins_with_the_prefix() -> None:
    with pytest.raises(Invalid) as caught:
        convert({"one": {}}, Outer, "[3]")

    assert caught.value.errors[0].path == "[3].one.number"


def test_a_valid_value_is_converted() -> None:
    converted = convert({"one": {"number": 2}, "counts": {"a": 1}}, Outer)

    assert (converted.one.number, converted.counts) == (2, {"a": 1})


REFUSED_BODIES: dict[str, tuple[bytes, dict[str, str], str]] = {
    "nothing": (b"", {}, "422 invalid_json"),
    "not JSON": (b"{'a': 1}", {}, "422 invalid_json"),
    "not UTF-8": (b'{"a": "\xff"}', {}, "422 invalid_json"),
    "too deep": (b"[" * 100 + b"]" * 100, {}, "422 invalid_json"),
    "far too deep": (b"[" * 1_000_000, {}, "422 invalid_json"),
    "a lone surrogate": (b'{"provider": "\\ud800"}', {}, "422 invalid_json"),
    "a form": (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, "415"),
    "text": (b"{}", {"content-type": "text/plain"}, "415"),
    "compressed": (b"{}", {"content-encoding": "gzip"}, "415"),
    "compressed twice": (b"{}", {"content-encoding": "identity, gzip"}, "415"),
    "one byte too many": (b" " * (MAX_BODY + 1), {}, "413 too_large"),
}


@pytest.mark.parametrize("name", REFUSED_BODIES)
async def test_an_invalid_body_is_refused(name: str, shared_service: Service) -> None:
    content, headers, expected = REFUSED_BODIES[name]

    response = await shared_service.http.post("/v1/jobs", content=content, headers=headers)

    assert f"{response.status_code} {response.json()['code']}".startswith(expected)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "Application/VND.x+JSON"]
)
async def test_every_media_type_of_json_is_accepted(
    media_type: str, shared_service: Service
) -> None:
    content = msgspec.json.encode(NEW_JOB)

    response = await shared_service.http.post(
        "/v1/jobs", content=content, headers={"content-type": media_type}
    )

    assert response.status_code == 202


@pytest.mark.parametrize("encoding", ["identity", "Identity", "IDENTITY", " identity\t", ""])
async def test_the_content_encoding_identity_is_accepted_in_any_spelling(
    encoding: str, shared_service: Service
) -> None:
    response = await post_raw(
        shared_service,
        f"content-type: application/json\r\ncontent-encoding:{encoding}\r\ncontent-length: 2",
        b"{}",
    )

    assert b" 422 " in response, "the body was read: 422, because the provider is missing"


async def post_raw(service: Service, header: str, body: bytes) -> bytes:
    """Post *body* with these headers; returns the head of the response."""
    host, port = service.url.removeprefix("http://").split(":")
    key = service.http.headers["authorization"]
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n{header}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + body)
    response = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.close()
    return response


async def test_a_body_of_the_maximum_size_is_accepted(shared_service: Service) -> None:
    body = msgspec.json.encode(NEW_JOB)

    response = await shared_service.http.post(
        "/v1/jobs", content=body + b" " * (MAX_BODY - len(body))
    )

    assert response.status_code == 202


async def test_a_nul_becomes_a_replacement_character(service: Service) -> None:
    job = await service.post("/v1/jobs", {**NEW_JOB, "reply_ref": "a\x00b", "tags": ["\x00"]})

    found = (await service.get("/v1/jobs", ref="a�b"))["data"]

    assert (job["reply_ref"], job["tags"]) == ("a�b", ["�"])
    assert [one["id"] for one in found] == [job["id"]]


async def test_metadata_is_returned_unchanged(shared_service: Service) -> None:
    metadata = {"big": 2**70, "small": -1.5e-7, "deep": [{"": None}], "naïve": "🔔"}

    job = await shared_service.post("/v1/jobs", {**NEW_JOB, "metadata": metadata})
    shown = await shared_service.get(f"/v1/jobs/{job['id']}")

    assert shown["metadata"] == metadata


async def test_content_length_with_transfer_encoding_is_refused(shared_service: Service) -> None:
    headers = "content-length: 5\r\ntransfer-encoding: chunked"

    response = await post_raw(shared_service, headers, b"0\r\n\r\n")

    assert b" 400 " in response
