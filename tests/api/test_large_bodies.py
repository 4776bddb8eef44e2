"""Bodies of 8 MiB, of any shape and from any sender, block the event loop only briefly."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from handlers.http.bodies import MAX_BODY
from service.domain.primitives.json_input import MAX_VALUES, UnreadableJson
from service.providers import registry
from service.providers.kit.coercion import MAX_ITEMS
from service.providers.protocol import Inconclusive, ProviderTask, Reply, RetryLater
from tests.support.databases import sqlite_file
from tests.support.factories import a_ref, build_job
from tests.support.receivers import Receiver, receiving, status
from tests.support.service_harness import Json, Service, eventually, providers_at, running_service

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.busy_loop(
        0.25, "copies 8 MiB a dozen times: 50 ms, twice that while other processes use the memory"
    ),
]

BODY_BYTES: Final = MAX_BODY - 1024
REF: Final = a_ref(1)
PROVIDERS: Final = registry()


def repeated(unit: bytes) -> bytes:
    return (unit + b",") * (BODY_BYTES // (len(unit) + 1) - 1) + unit


TOO_MANY_VALUES: Final[dict[str, Callable[[], bytes]]] = {
    "empty objects": lambda: b"[" + repeated(b"{}") + b"]",
    "numbers": lambda: b"[" + repeated(b"1") + b"]",
    "empty strings": lambda: b"[" + repeated(b'""') + b"]",
    "empty lists": lambda: b"[" + repeated(b"[]") + b"]",
    "named objects": lambda: b"{" + repeated(b'"a":{}') + b"}",
    "nested lists": lambda: b"[" * (BODY_BYTES // 2) + b"]" * (BODY_BYTES // 2),
    "lists sixty deep": lambda: b"[" + repeated(b"[" * 60 + b"]" * 60) + b"]",
    "nested data": lambda: b'{"data":[' + repeated(b'{"taskUUID":"x"}') + b"]}",
}
FEW_VALUES: Final[dict[str, Callable[[], bytes]]] = {
    "base64": lambda: b'"' + b"iVBORw0K" * (BODY_BYTES // 8) + b'"',
    "brackets in a string": lambda: b'"' + b"[{,:" * (BODY_BYTES // 4) + b'"',
    "escaped quotes": lambda: b'"' + rb"\"" * (BODY_BYTES // 2) + b'"',
    "escaped backslashes": lambda: b'"' + rb"\\" * (BODY_BYTES // 2) + b'"',
    "white space": lambda: b" " * BODY_BYTES + b"{}",
    "the maximum number of values": lambda: b"[" + b",".join([b'"x"'] * (MAX_VALUES - 9)) + b"]",
}
SHAPES: Final = TOO_MANY_VALUES | FEW_VALUES
at_every_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="module")
async def provider(anyio_backend: tuple[str, dict[str, Any]]) -> AsyncIterator[Receiver]:
    assert anyio_backend
    async with receiving() as provider:
        yield provider


@pytest.fixture(scope="module")
async def service(provider: Receiver) -> AsyncIterator[Service]:
    with sqlite_file() as url:
        async with running_service(
            url, **providers_at(provider.url), USEAPI_MAX_JOBS="200"
        ) as service:
            yield service


async def post(service: Service, path: str, body: bytes) -> int:
    """Send *body* in small chunks, so that the test itself does not block the event loop."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]
            await asyncio.sleep(0)

    headers = {"content-length": str(len(body)), "content-type": "application/json"}
    async with service.http.stream("POST", path, content=chunks(), headers=headers) as answer:
        async for _ in answer.aiter_raw(65536):
            pass
        return answer.status_code


async def submit_frames(service: Service) -> Json:
    return await service.submit("useapi", "frames.create", {"text_prompt": "x"})


@at_every_shape
async def test_a_large_job_is_refused_or_accepted_quickly(
    shape: str, service: Service, provider: Receiver
) -> None:
    provider.otherwise = status(200, b'{"taskId":"t","status":"PENDING"}')
    job = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
    head, tail = json.dumps(job)[:-2].encode() + b',"more":', b"}}"

    alone = await post(service, "/v1/jobs", SHAPES[shape]())
    inside = await post(service, "/v1/jobs", head + SHAPES[shape]() + tail)

    assert (alone, inside) == (422, 202 if shape in FEW_VALUES else 422)


@at_every_shape
@pytest.mark.parametrize("name", ["useapi", "runware"])
async def test_a_large_unreadable_callback_is_refused_quickly(
    name: str, shape: str, service: Service
) -> None:
    given = {"text_prompt": "x"} if name == "useapi" else {"positivePrompt": "x", "model": "a:1@2"}
    operation = "frames.create" if name == "useapi" else "imageInference"
    job = await service.submit(name, operation, given)
    path = service.callback_url(name, job["ref"]).removeprefix(service.url)

    answer = await post(service, path, SHAPES[shape]())

    (callback,) = (await service.get("/v1/callbacks", job=job["id"]))["data"]
    shown = await service.get(f"/v1/callbacks/{callback['id']}")
    assert (answer, callback["verdict"]) == (400, "unreadable")
    assert len(shown["body"]) <= 64 * 1024


@at_every_shape
async def test_a_job_with_an_unreadable_submit_answer_is_not_sent_again(
    shape: str, service: Service, provider: Receiver
) -> None:
    body = SHAPES[shape]()
    provider.received.clear()
    provider.otherwise = status(200, body)

    job = await submit_frames(service)

    async def answer_processed() -> bool:
        return bool((await service.job(job["id"]))["version"] == 3)

    await eventually(answer_processed)
    assert (await service.job(job["id"]))["status"] == "submitting"
    assert sum(job["ref"].encode() in sent.body for sent in provider.received) == 1


TOO_MANY_ITEMS: Final[dict[str, tuple[str, Any]]] = {
    "a bare list": ("runware", [{"taskUUID": REF, "text": "x"}] * (MAX_ITEMS + 1)),
    "data": ("runware", {"data": [{"taskUUID": REF, "text": "x"}] * (MAX_ITEMS + 1)}),
    "errors": ("runware", {"errors": [{"code": "x", "message": "x"}] * (MAX_ITEMS + 1)}),
    "nameless errors": ("runware", {"error": [{"code": "x"}] * (MAX_ITEMS + 1)}),
    "several envelopes": ("runware", [{"data": [{"text": "x"}] * 501}] * 2),
    "values that are no items": ("runware", [{"data": [1] * 501}] * 2),
    "files": ("runware", {"taskUUID": REF, "outputs": {"files": [{}] * (MAX_ITEMS + 1)}}),
    "artifacts": (
        "useapi",
        {"taskId": "t", "status": "SUCCEEDED", "artifacts": [{}] * (MAX_ITEMS + 1)},
    ),
}


@pytest.mark.parametrize("what", TOO_MANY_ITEMS)
def test_a_callback_with_too_many_items_is_unreadable(what: str) -> None:
    name, value = TOO_MANY_ITEMS[what]

    with pytest.raises(UnreadableJson, match="more than 1000 items"):
        PROVIDERS[name].read_callback(json.dumps(value).encode(), {})


@pytest.mark.parametrize("what", TOO_MANY_ITEMS)
def test_an_answer_with_too_many_items_is_inconclusive(what: str) -> None:
    name, value = TOO_MANY_ITEMS[what]
    operation = "frames.create" if name == "useapi" else "imageInference"
    task = ProviderTask(ref=REF, operation=operation, input={})
    reply = Reply(status=200, headers={}, body=json.dumps(value).encode())

    answer = PROVIDERS[name].read_answer(reply, [task])[REF]
    lookup = PROVIDERS[name].read_lookup(reply, build_job(provider=name, ref=REF), 0)

    assert isinstance(answer, Inconclusive)
    assert isinstance(lookup, Inconclusive)
    assert PROVIDERS[name].read_check(reply) is None


def test_a_busy_answer_with_too_many_tasks_still_means_busy() -> None:
    body = {"error": "busy", "runningTasks": {"a": [{"taskId": "t"}] * (MAX_ITEMS + 1)}}
    reply = Reply(status=429, headers={}, body=json.dumps(body).encode())

    answers = PROVIDERS["useapi"].read_answer(
        reply, [ProviderTask(ref=REF, operation="frames.create", input={})]
    )

    assert isinstance(answers[REF], RetryLater)


def test_the_maximum_number_of_items_is_read() -> None:
    items = [{"taskUUID": REF, "imageUUID": str(n)} for n in range(MAX_ITEMS)]
    artifacts = [{"url": f"https://example.com/{n}.png"} for n in range(MAX_ITEMS)]
    task = {"replyRef": REF, "status": "SUCCEEDED", "artifacts": artifacts}

    reports = PROVIDERS["runware"].read_callback(json.dumps({"data": items}).encode(), {})
    (report,) = PROVIDERS["useapi"].read_callback(json.dumps(task).encode(), {})

    assert len(reports) == MAX_ITEMS
    assert report.output is not None
    assert len(report.output.artifacts) == MAX_ITEMS


async def test_a_result_can_have_thousands_of_words(service: Service, provider: Receiver) -> None:
    provider.otherwise = status(200, b'{"data":[]}')
    given = {"positivePrompt": "x", "model": "a:1@2"}
    job = await service.submit("runware", "imageInference", given)
    words = [{"word": "and", "start": n} for n in range(20_000)]

    answer = await service.call_back(
        "runware", job["ref"], {"taskUUID": job["ref"], "structuredData": {"words": words}}
    )

    assert answer == 204
    assert (await service.job(job["id"]))["output"]["data"]["words"] == words
