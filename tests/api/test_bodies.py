"""Bodies: how many bytes, how long, of what kind; and how a fault in one is named."""

import asyncio
from typing import Annotated

import msgspec
import pytest

from handlers.http.bodies import MAX_BODY, convert
from service.domain.primitives.errors import Invalid
from tests.support.service_harness import Json, Service

pytestmark = pytest.mark.anyio

ORDER: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[int, msgspec.Meta(ge=1)]


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    one: Inner
    many: list[Inner] = []
    words: dict[str, int] = {}


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
        ({"one": {"number": 1}, "words": {1: 1}}, "words"),
        ({"one": {"number": 1, "a\nb": 1}}, "one.a\nb"),
        ({"one": {"number": 1, " - at `$x": 1}}, "one. - at `$x"),
    ],
    ids=str,
)
def test_a_fault_is_named_by_its_place(value: object, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        convert(value, Outer)

    assert [fault.path for fault in caught.value.errors] == [path]


def test_the_place_begins_below_the_prefix() -> None:
    with pytest.raises(Invalid) as caught:
        convert({"one": {}}, Outer, "[3]")

    assert caught.value.errors[0].path == "[3].one.number"


def test_what_fits_is_read() -> None:
    read = convert({"one": {"number": 2}, "words": {"a": 1}}, Outer)

    assert (read.one.number, read.words) == (2, {"a": 1})


REFUSED: dict[str, tuple[bytes, dict[str, str], str]] = {
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


@pytest.mark.parametrize("name", REFUSED)
async def test_a_body_that_cannot_be_taken_is_refused(name: str, shared_service: Service) -> None:
    content, headers, refusal = REFUSED[name]

    answer = await shared_service.http.post("/v1/jobs", content=content, headers=headers)

    assert f"{answer.status_code} {answer.json()['code']}".startswith(refusal)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/VND.x+JSON"]
)
async def test_json_is_taken_by_any_of_its_names(kind: str, shared_service: Service) -> None:
    content = msgspec.json.encode(ORDER)

    answer = await shared_service.http.post(
        "/v1/jobs", content=content, headers={"content-type": kind}
    )

    assert answer.status_code == 202


@pytest.mark.parametrize("encoding", ["identity", "Identity", "IDENTITY", " identity\t", ""])
async def test_identity_is_no_compression_however_it_is_written(
    encoding: str, shared_service: Service
) -> None:
    answer = await raw(
        shared_service,
        f"content-type: application/json\r\ncontent-encoding:{encoding}\r\ncontent-length: 2",
        b"{}",
    )

    assert b" 422 " in answer, "it was read: it lacks a provider"


async def raw(service: Service, header: str, body: bytes) -> bytes:
    """Post *body* as it is, and read the head of the answer."""
    host, port = service.url.removeprefix("http://").split(":")
    key = service.http.headers["authorization"]
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n{header}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.close()
    return answer


async def test_the_largest_body_is_taken(shared_service: Service) -> None:
    order = msgspec.json.encode(ORDER)

    answer = await shared_service.http.post(
        "/v1/jobs", content=order + b" " * (MAX_BODY - len(order))
    )

    assert answer.status_code == 202


async def test_a_nul_becomes_a_replacement_character(service: Service) -> None:
    job = await service.post("/v1/jobs", {**ORDER, "reply_ref": "a\x00b", "tags": ["\x00"]})

    found = (await service.get("/v1/jobs", ref="a�b"))["data"]

    assert (job["reply_ref"], job["tags"]) == ("a�b", ["�"])
    assert [one["id"] for one in found] == [job["id"]]


async def test_numbers_and_names_come_back_as_they_were_sent(shared_service: Service) -> None:
    metadata = {"big": 2**70, "small": -1.5e-7, "deep": [{"": None}], "naïve": "🔔"}

    job = await shared_service.post("/v1/jobs", {**ORDER, "metadata": metadata})
    shown = await shared_service.get(f"/v1/jobs/{job['id']}")

    assert shown["metadata"] == metadata


async def test_two_lengths_in_one_request_are_refused(shared_service: Service) -> None:
    both = "content-length: 5\r\ntransfer-encoding: chunked"

    answer = await raw(shared_service, both, b"0\r\n\r\n")

    assert b" 400 " in answer
