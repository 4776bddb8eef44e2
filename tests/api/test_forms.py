"""Jobs as `multipart/form-data`: what curl -F sends, typed by the operation's schema."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from handlers.http.bodies import MAX_BODY
from handlers.http.multipart import MAX_PART_HEAD, MAX_PARTS, read_parts
from handlers.schemas.job_form import job_from_form
from service.domain.primitives.errors import Invalid
from service.domain.primitives.json_input import MAX_VALUES
from service.providers import registry
from tests.support.service_harness import ADMIN_KEY, Json, Service

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.busy_loop(0.25, "copies 8 MiB a few times"),
]
CONTENT_TYPE = "multipart/form-data; boundary=b"
PROVIDERS = registry()
REQUIRED = (("provider", "useapi"), ("operation", "frames.create"), ("text_prompt", "a bell"))
NEW_JOB: Json = {
    "provider": "useapi",
    "operation": "frames.create",
    "input": {"text_prompt": "a bell"},
}
Fields = tuple[tuple[str, str], ...]


def form(*fields: tuple[str, str], boundary: str = "b") -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields
    ]
    return ("".join(parts) + f"--{boundary}--\r\n").encode()


def decoded(*fields: tuple[str, str]) -> Json:
    return dict(job_from_form(read_parts(form(*fields), CONTENT_TYPE), PROVIDERS))


def paths_of_errors(*fields: tuple[str, str]) -> list[str]:
    with pytest.raises(Invalid) as caught:
        decoded(*fields)
    return [error.path for error in caught.value.errors]


async def post_form(service: Service, *fields: tuple[str, str], **headers: str) -> Any:
    boundary = f"boundary-{random.getrandbits(64)}"
    headers["content-type"] = f"multipart/form-data; boundary={boundary}"
    body = form(*fields, boundary=boundary)
    return await service.http.post("/v1/jobs", content=body, headers=headers)


async def test_curl_submits_a_job_as_a_form(service: Service) -> None:
    fields = (*REQUIRED, ("seed", "7"), ("tags", "a"), ("tags", "b"), ("metadata", '{"n": 1}'))
    arguments = [part for name, value in fields for part in ("-F", f"{name}={value}")]

    process = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        *("-H", f"Authorization: Bearer {ADMIN_KEY}"),
        *arguments,
        f"{service.url}/v1/jobs",
        stdout=asyncio.subprocess.PIPE,
    )
    await process.communicate()
    (job,) = (await service.get("/v1/jobs"))["data"]

    assert job["input"] == {"text_prompt": "a bell", "seed": 7}
    assert (job["tags"], job["metadata"]) == (["a", "b"], {"n": 1})


async def test_all_fields_of_a_job_may_be_in_a_form(shared_service: Service) -> None:
    response = await post_form(
        shared_service,
        *REQUIRED,
        ("reply_url", "http://127.0.0.1:9/hook"),
        ("reply_event_types", "job.succeeded"),
        ("reply_event_types", "job.failed"),
        ("reply_ref", "mine"),
        ("deadline_seconds", "60"),
    )

    assert response.status_code == 202, response.text
    assert response.json()["reply_ref"] == "mine"


async def test_an_idempotency_key_compares_decoded_fields(service: Service) -> None:
    fields = (*REQUIRED, ("seed", "7"), ("tags", "a"))
    as_json = NEW_JOB | {"input": {"seed": 7, "text_prompt": "a bell"}, "tags": ["a"]}
    key = {"idempotency-key": "k"}

    first = await post_form(service, *fields, **key)
    again = await post_form(service, *reversed(fields), **key)
    json_again = await service.http.post("/v1/jobs", json=as_json, headers=key)
    other = await post_form(service, *REQUIRED, ("seed", "8"), **key)

    assert [first.status_code, again.status_code, json_again.status_code] == [202] * 3
    assert first.json()["id"] == again.json()["id"] == json_again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_reused")


async def test_a_form_is_refused_where_only_json_is_read(shared_service: Service) -> None:
    response = await shared_service.http.post(
        "/v1/subscriptions", content=form(), headers={"content-type": CONTENT_TYPE}
    )

    assert response.status_code == 415


async def test_a_file_in_a_form_points_to_the_assets(shared_service: Service) -> None:
    response = await shared_service.http.post(
        "/v1/jobs", data=dict(REQUIRED), files={"image": ("a.png", b"\x89PNG", "image/png")}
    )

    (error,) = response.json()["errors"]
    assert (response.status_code, error["path"]) == (422, "input.image")
    assert "POST /v1/providers/{provider}/assets" in error["message"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "12", 12),
        ("seed", "x", "x"),
        ("seed", "1.5", "1.5"),
        ("seed", "true", "true"),
        ("seed", "", ""),
        ("exploreMode", "true", True),
        ("exploreMode", "false", False),
        ("exploreMode", "yes", "yes"),
        ("exploreMode", "1", "1"),
        ("style", "12", "12"),
        ("unknown", "12", "12"),
        ("unknown", '["a"]', '["a"]'),
        ("text_prompt", "två\r\nrader 🔔", "två\r\nrader 🔔"),
        ("text_prompt", "a\x00b", "a�b"),
    ],
)
def test_an_input_is_typed_by_the_schema(name: str, text: str, value: object) -> None:
    job = decoded(*REQUIRED[:2], (name, text))

    assert job["input"] == {name: value}
    assert type(job["input"][name]) is type(value)


@pytest.mark.parametrize(
    ("texts", "value"),
    [(["a", "b"], ["a", "b"]), (["a"], ["a"]), (['["a", "b"]'], ["a", "b"]), (["[a"], ["[a"])],
)
def test_a_list_is_a_repeated_field_or_json(texts: list[str], value: list[str]) -> None:
    assert decoded(*REQUIRED, *[("tags", text) for text in texts])["tags"] == value


def test_a_number_of_an_operation_keeps_its_kind() -> None:
    fields = (("provider", "runway_ai"), ("operation", "speed-adjust"))

    job = decoded(*fields, ("speed_factor", "1.5"))
    whole = decoded(*fields, ("speed_factor", "2"))

    assert (job["input"], whole["input"]) == ({"speed_factor": 1.5}, {"speed_factor": 2})


def test_a_field_that_is_no_list_may_not_be_repeated() -> None:
    repeated = (("provider", "x"), ("text_prompt", "b"), ("more", "1"), ("more", "2"))

    assert paths_of_errors(*REQUIRED, *repeated) == [
        "provider",
        "input.text_prompt",
        "input.more",
    ]


async def test_an_unknown_provider_and_missing_fields_are_named(shared_service: Service) -> None:
    unknown = await post_form(shared_service, ("provider", "x"), ("operation", "y"), ("a", "1"))
    missing = await post_form(shared_service, ("operation", "y"))
    wrong = await post_form(shared_service, *REQUIRED, ("metadata", "{"), ("seed", "x"))

    paths = [[one["path"] for one in a.json()["errors"]] for a in (unknown, missing, wrong)]
    assert [unknown.status_code, missing.status_code, wrong.status_code] == [422] * 3
    assert paths == [["provider"], ["provider"], ["metadata"]]


HEAD = b'Content-Disposition: form-data; name="a"'
MALFORMED: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", CONTENT_TYPE, "boundary"),
    "no boundary": (form(), "multipart/form-data", "boundary"),
    "an empty boundary": (form(), 'multipart/form-data; boundary=""', "boundary"),
    "a long boundary": (form(), f"multipart/form-data; boundary={'b' * 71}", "boundary"),
    "a foreign boundary": (form(), "multipart/form-data; boundary=c", "boundary"),
    "a boundary not in ASCII": (form(), "multipart/form-data; boundary=\xe9", "boundary"),
    "no end": (b"--b\r\n" + HEAD + b"\r\n\r\nx\r\n", CONTENT_TYPE, "end"),
    "cut in the head": (b"--b\r\n" + HEAD[:20], CONTENT_TYPE, "end"),
    "a longer delimiter": (b"--bx\r\n" + HEAD + b"\r\n\r\nx\r\n--b--", CONTENT_TYPE, "delimiter"),
    "line feeds only": (form(("a", "x")).replace(b"\r", b""), CONTENT_TYPE, "CR LF"),
    "no name": (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", CONTENT_TYPE, "name"),
    "no head": (b"--b\r\n\r\nx\r\n--b--", CONTENT_TYPE, "name"),
    "two names": (
        b"--b\r\n" + HEAD + b"\r\n" + HEAD + b"\r\n\r\nx\r\n--b--",
        CONTENT_TYPE,
        "name",
    ),
    "an attachment": (
        b'--b\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n--b--',
        CONTENT_TYPE,
        "name",
    ),
    "a head that does not end": (b"--b\r\n" + HEAD + b"\r\n--b--", CONTENT_TYPE, "head"),
    "a large head": (
        b"--b\r\nX: " + b"x" * MAX_PART_HEAD + b"\r\n" + HEAD + b"\r\n\r\nx\r\n--b--",
        CONTENT_TYPE,
        "head",
    ),
    "a head not in UTF-8": (
        b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--b--',
        CONTENT_TYPE,
        "UTF-8",
    ),
    "base64": (
        b"--b\r\n" + HEAD + b"\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--",
        CONTENT_TYPE,
        "Content-Transfer-Encoding",
    ),
    "too many parts": (form(*[("a", "x")] * (MAX_PARTS + 1)), CONTENT_TYPE, "parts"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_form_is_refused(name: str) -> None:
    body, content_type, word = MALFORMED[name]

    with pytest.raises(HTTPException) as caught:
        read_parts(body, content_type)

    assert (caught.value.status_code, word in caught.value.detail) == (400, True)


async def test_a_malformed_form_is_a_problem(shared_service: Service) -> None:
    response = await shared_service.http.post(
        "/v1/jobs", content=b"--b\r\nx", headers={"content-type": CONTENT_TYPE}
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_a_value_that_is_no_text_is_named() -> None:
    body = b"--b\r\n" + HEAD + b"\r\n\r\n\xff\r\n--b--"

    with pytest.raises(Invalid) as caught:
        read_parts(body, CONTENT_TYPE)

    assert [error.path for error in caught.value.errors] == ["a"]


ACCEPTED: dict[str, tuple[bytes, str]] = {
    "a preamble and an epilogue": (b"hello\r\n" + form(("a", "x")) + b"bye", CONTENT_TYPE),
    "white space after the delimiter": (
        b"--b \t\r\n" + HEAD + b"\r\n\r\nx\r\n--b-- \r\n",
        CONTENT_TYPE,
    ),
    "a quoted boundary": (form(("a", "x")), 'Multipart/Form-Data; boundary="b"; charset=utf-8'),
    "a media type of the part": (
        b"--b\r\n" + HEAD + b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx\r\n--b--",
        CONTENT_TYPE,
    ),
    "an unquoted name": (
        b"--b\r\ncontent-disposition:form-data;name=a\r\n\r\nx\r\n--b--",
        CONTENT_TYPE,
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_form_of_the_standard_is_read(name: str) -> None:
    body, content_type = ACCEPTED[name]

    (part,) = read_parts(body, content_type)

    assert (part.name, part.text) == ("a", "x")


def test_a_file_is_recognized_in_every_encoding_of_its_name() -> None:
    for parameter in (b'filename="a.png"', b"filename*=utf-8''a.png", b'filename=""'):
        body = b"--b\r\n" + HEAD + b"; " + parameter + b"\r\n\r\n\xff\x00\r\n--b--"

        (part,) = read_parts(body, CONTENT_TYPE)

        assert (part.name, part.text) == ("a", None)


async def test_a_form_of_the_maximum_size_is_accepted(shared_service: Service) -> None:
    empty = form(*REQUIRED, ("more", ""))
    body = form(*REQUIRED, ("more", "x" * (MAX_BODY - len(empty))))
    headers = {"content-type": CONTENT_TYPE, "content-length": str(len(body))}

    accepted = await shared_service.http.post("/v1/jobs", content=chunks(body), headers=headers)
    headers["content-length"] = str(len(body) + 1)
    refused = await shared_service.http.post(
        "/v1/jobs", content=chunks(body + b" "), headers=headers
    )

    assert (accepted.status_code, refused.status_code) == (202, 413)


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]
        await asyncio.sleep(0)


HOSTILE: dict[str, bytes] = {
    "line ends": b"\r\n",
    "carriage returns": b"\r",
    "dashes": b"-",
    "almost delimiters": b"\r\n--",
    "delimiters": b"\r\n--b",
    "parts": form(("a", ""))[:-7],
    "semicolons": b'";',
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_form_does_not_block_the_service(
    name: str, shared_service: Service
) -> None:
    unit, start, end = HOSTILE[name], form(*REQUIRED)[:-7], b"--b--\r\n"
    body = start + b"--b\r\n" + HEAD + b"\r\n\r\n" + unit * ((MAX_BODY - 1024) // len(unit))
    headers = {"content-type": CONTENT_TYPE, "content-length": str(len(body) + 9)}

    response = await shared_service.http.post(
        "/v1/jobs", content=chunks(body + b"\r\n" + end), headers=headers
    )

    assert response.status_code in (202, 400)


def test_the_limit_of_json_values_holds_for_all_fields_together() -> None:
    many = "[" + ",".join("1" * (MAX_VALUES // 2)) + "]"

    with pytest.raises(Invalid, match="JSON") as caught:
        decoded(*REQUIRED, ("tags", many), ("reply_event_types", many))

    assert caught.value.reason == "invalid_json"


def test_random_bytes_never_raise_anything_else() -> None:
    alphabet = [b"--b", b"\r\n", b"--", b"a", HEAD, b"\r\n\r\n", b'"', b";", b"\xff", b" "]
    choose = random.Random(1)  # noqa: S311 - not for secrets

    for _ in range(3000):
        body = b"".join(choose.choices(alphabet, k=choose.randrange(12)))
        try:
            read_parts(body, CONTENT_TYPE)
        except (HTTPException, Invalid):
            continue
