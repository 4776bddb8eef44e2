"""Callbacks over HTTP: every verdict, its response, and what is stored."""

import asyncio
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import cast
from uuid import uuid4

import httpx
import pytest

from service.domain.primitives.errors import Invalid
from service.providers.protocol import Callbacks, Provider
from service.providers.useapi.provider import UseApi
from service.workers.callback_intake import IntakeResult
from store.sql_store import SqlStore
from tests.support.job_steps import DONE, JOB_REQUEST, submit_job
from tests.support.receivers import Receiver
from tests.support.service_harness import Json, Service, eventually, plain_client, running_service

pytestmark = pytest.mark.anyio

ChangeUrl = Callable[[str], str]


async def submit_ref(service: Service) -> str:
    """Submit a job and return its ref."""
    return str((await submit_job(service))["ref"])


async def verdicts(service: Service) -> list[str]:
    """The verdicts of all callbacks, oldest first."""
    callbacks = (await service.get("/v1/callbacks"))["data"]
    return [callback["verdict"] for callback in callbacks][::-1]


async def job_of(service: Service, ref: str) -> Json:
    (job,) = (await service.get("/v1/jobs", ref=ref))["data"]
    return dict(job)


async def test_a_callback_updates_its_job(service: Service) -> None:
    ref = await submit_ref(service)

    running = {"replyRef": ref, "status": "RUNNING", "progressRatio": "0.5"}
    answers = [await service.call_back("useapi", ref, running)]
    updated = await job_of(service, ref)
    answers.append(await service.call_back("useapi", ref, {"replyRef": ref, **DONE}))
    ended = await job_of(service, ref)

    assert answers == [204, 204]
    assert (updated["status"], updated["progress"]["ratio"]) == ("running", 0.5)
    assert (ended["status"], ended["progress"]["ratio"]) == ("succeeded", 1.0)
    assert await verdicts(service) == ["accepted", "accepted"]


async def test_repeated_bytes_are_counted_and_change_nothing(service: Service) -> None:
    ref = await submit_ref(service)

    answers = [await service.call_back("useapi", ref, DONE) for _ in range(4)]
    (stored,) = (await service.get("/v1/callbacks"))["data"]
    events = (await service.get(f"/v1/jobs/{stored['job']}/events"))["data"]

    assert answers == [204] * 4
    assert (stored["verdict"], stored["repeats"]) == ("accepted", 3)
    assert [event["type"] for event in events].count("job.succeeded") == 1


async def test_a_callback_after_the_end_of_its_job_is_late(service: Service) -> None:
    ref = await submit_ref(service)
    await service.call_back("useapi", ref, DONE)

    answer = await service.call_back("useapi", ref, {"status": "RUNNING", "progressRatio": 0.1})
    other_result = await service.call_back("useapi", ref, {"status": "FAILED", "error": "no"})

    assert (answer, other_result) == (204, 204)
    assert (await job_of(service, ref))["status"] == "succeeded"
    assert await verdicts(service) == ["accepted", "late", "late"]


async def test_a_body_with_the_ref_of_another_job_changes_neither_job(service: Service) -> None:
    called, named = await submit_ref(service), await submit_ref(service)

    answer = await service.call_back("useapi", called, {"replyRef": named, **DONE})

    assert answer == 204
    assert await verdicts(service) == ["mismatched"]
    for ref in (called, named):
        assert (await job_of(service, ref))["status"] != "succeeded"


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b"<html>", b'"x"', b"\xff\xfe", b"[" * 100_000]
)
async def test_an_unreadable_body_gets_400_and_is_stored(body: bytes, service: Service) -> None:
    ref = await submit_ref(service)

    answer = await service.call_back("useapi", ref, body)
    (stored,) = (await service.get("/v1/callbacks", verdict="unreadable"))["data"]

    assert answer == 400
    assert stored["ref"] == ref


FORGERIES: dict[str, ChangeUrl] = {
    "no signature": lambda url: url.split("?")[0],
    "a longer signature": lambda url: url + "x",
    "another time": lambda url: url.replace("?t=", "?t=A"),
    "another provider": lambda url: url.replace("/useapi/", "/runware/"),
    "an unknown provider": lambda url: url.replace("/useapi/", "/unknown/"),
    "a longer path": lambda url: url.replace("/useapi/", f"/useapi/{uuid4()}/"),
    "a second signature": lambda url: f"{url}&t=x",
    "the signature twice": lambda url: f"{url}&{url.split('?')[1]}",
    "another signature first": lambda url: url.replace("?t=", "?t=x&t="),
    "another ref": lambda url: url.split("/useapi/")[0] + f"/useapi/{uuid4()}?" + url.split("?")[1],
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_url_gets_404(name: str, service: Service) -> None:
    ref = await submit_ref(service)
    url = FORGERIES[name](service.callback_url("useapi", ref))

    async with httpx.AsyncClient() as client:
        answer = await client.post(url, json={"replyRef": ref, **DONE})

    assert (answer.status_code, answer.content) == (404, b"")
    assert await verdicts(service) == []
    assert (await job_of(service, ref))["status"] != "succeeded"


async def test_only_post_is_allowed_and_a_trailing_slash_is_ignored(service: Service) -> None:
    ref = await submit_ref(service)
    url = service.callback_url("useapi", ref)

    async with httpx.AsyncClient() as client:
        got = await client.get(url)
        posted = await client.post(url.replace("?t=", "/?t="), json=DONE)

    assert (got.status_code, got.content) == (404, b"")
    assert posted.status_code == 204


class PutUseApi(UseApi):
    """A provider that calls back with PUT, and takes only 202 for success."""

    callbacks: Callbacks | None = Callbacks(methods=frozenset({"PUT"}), success_status=202)


async def test_a_provider_calls_back_with_its_own_method_and_gets_its_own_status(
    service: Service,
) -> None:
    ref = await submit_ref(service)
    cast("dict[str, Provider]", service.context.providers)["useapi"] = PutUseApi()
    url = service.callback_url("useapi", ref)

    async with plain_client() as client:
        answers = [
            (await client.request(method, url, json={"replyRef": ref, **DONE})).status_code
            for method in ("POST", "GET", "PUT")
        ]

    assert answers == [404, 404, 202]
    assert (await job_of(service, ref))["status"] == "succeeded"


async def test_too_large_and_compressed_bodies_are_rejected(service: Service) -> None:
    url = service.callback_url("useapi", await submit_ref(service))

    async with httpx.AsyncClient() as client:
        large = await client.post(url, content=b" " * (8 * 1024 * 1024 + 1))
        compressed = await client.post(url, content=b"x", headers={"content-encoding": "gzip"})

    assert (large.status_code, compressed.status_code) == (413, 415)
    assert await verdicts(service) == []


async def test_an_incomplete_body_times_out(shared_service: Service) -> None:
    service = shared_service  # it takes ten seconds, and the database does not matter
    url = service.callback_url("useapi", await submit_ref(service))
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    path = url.split(f"{host}:{port}")[1]

    reader, writer = await asyncio.open_connection(host, int(port), family=socket.AF_INET)
    writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf".encode())
    answer = await asyncio.wait_for(reader.readline(), 15)
    writer.close()

    assert b" 408 " in answer


@pytest.mark.busy_loop(1.0, "the test runs two hundred clients in the same loop")
async def test_each_of_two_hundred_concurrent_callbacks_ends_one_job(
    service: Service, receiver: Receiver
) -> None:
    jobs: list[Json] = []
    for _ in range(2):
        jobs += (await service.post("/v1/jobs", [JOB_REQUEST] * 100))["data"]
    await service.subscribe(receiver.url)

    answers = await asyncio.gather(
        *(
            service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE})
            for job in jobs
        ),
        *(service.call_back("useapi", job["ref"], b"garbage") for job in jobs[:20]),
    )
    webhooks = await receiver.wait(200)

    assert answers == [204] * 200 + [400] * 20
    assert sorted(one.event["data"]["id"] for one in webhooks) == sorted(job["id"] for job in jobs)


async def test_a_stored_callback_is_shown_without_the_signature_of_its_url(
    service: Service,
) -> None:
    ref = await submit_ref(service)
    url = service.callback_url("useapi", ref)
    await service.call_back("useapi", ref, {"replyRef": ref, "replyUrl": url, **DONE})

    (stored,) = (await service.get("/v1/callbacks"))["data"]
    shown = await service.get(f"/v1/callbacks/{stored['id']}")
    raw = await service.get(f"/v1/jobs/{stored['job']}", expand="raw")

    signature = url.split("?t=")[1]
    assert "SUCCEEDED" in shown["body"]
    assert raw["raw"]["status"] == "SUCCEEDED"
    assert signature not in shown["body"] + str(raw)


async def test_a_callback_gets_503_while_the_store_is_locked_and_is_accepted_later(
    sqlite_url: str,
) -> None:
    async with running_service(sqlite_url) as service:
        ref = await submit_ref(service)
        url = service.callback_url("useapi", ref)

        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=0)) as other:
            await eventually(lambda: has_locked(other))
            async with plain_client() as client:
                forged = await client.post(f"{url}x", json=DONE)
                refused = await client.post(url, json=DONE)
            other.rollback()
        repeated = await service.call_back("useapi", ref, DONE)

        assert forged.status_code == 404, "without a query, which would fail"
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert repeated == 204
        assert (await job_of(service, ref))["status"] == "succeeded"
        assert await verdicts(service) == ["accepted"]


async def has_locked(other: sqlite3.Connection) -> bool:
    """Lock the database for *other*; False while the service is writing."""
    try:
        other.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


async def test_a_callback_for_an_unknown_job_gets_204_and_is_not_stored(service: Service) -> None:
    answer = await service.call_back("useapi", str(uuid4()), DONE)

    assert answer == 204
    assert await verdicts(service) == []


async def test_callbacks_out_of_order_never_reduce_the_progress_of_a_job(service: Service) -> None:
    ref = await submit_ref(service)
    bodies: list[Json] = [
        {"status": "RUNNING", "progressRatio": 0.75},
        {"status": "THROTTLED"},
        {"status": "RUNNING", "progressRatio": "0.25"},
        {"status": "PENDING"},
        {"status": "MOONWALKING"},
    ]

    answers = [await service.call_back("useapi", ref, {"replyRef": ref, **body}) for body in bodies]
    job = await job_of(service, ref)
    events = (await service.get(f"/v1/jobs/{job['id']}/events"))["data"]

    assert answers == [204] * 5
    assert (job["status"], job["progress"]["ratio"]) == ("running", 0.75)
    assert [event["type"] for event in events] == ["job.running", "job.queued"]


async def test_a_body_of_several_megabytes_is_stored_and_shown(service: Service) -> None:
    ref = await submit_ref(service)
    body = {"replyRef": ref, **DONE, "padding": "x" * 7_000_000}

    answer = await service.call_back("useapi", ref, body)
    (stored,) = (await service.get("/v1/callbacks"))["data"]
    shown = await service.get(f"/v1/callbacks/{stored['id']}")

    assert answer == 204
    assert len(shown["body"]) > 7_000_000


async def test_only_the_first_64_kib_of_an_unreadable_body_are_stored(service: Service) -> None:
    ref = await submit_ref(service)

    answer = await service.call_back("useapi", ref, b"<" * 1_000_000)
    (stored,) = (await service.get("/v1/callbacks"))["data"]
    shown = await service.get(f"/v1/callbacks/{stored['id']}")

    assert answer == 400
    assert len(shown["body"]) == 64 * 1024


async def test_each_of_several_results_counts_once_in_any_order(
    service: Service,
) -> None:
    given = {"positivePrompt": "x", "model": "runware:101@1", "numberResults": 3}
    job = await service.submit("runware", "imageInference", given)
    ref = str(job["ref"])
    images = [
        {"taskType": "imageInference", "taskUUID": ref, "imageUUID": str(uuid4()), "cost": 0.5}
        | {"imageURL": f"https://im.runware.ai/{n}.jpg"}
        for n in range(3)
    ]

    bodies: list[Json] = [images[2], {"data": [images[0]]}, images[2], {"data": images[:1]}]
    answers = [await service.call_back("runware", ref, body) for body in bodies]
    before = await job_of(service, ref)
    answers.append(await service.call_back("runware", ref, images[1]))
    after = await job_of(service, ref)

    assert answers == [204] * 5
    assert before["status"] in ("queued", "submitting", "submitted", "running")
    assert before["cost_usd"] == 1
    assert (after["status"], after["cost_usd"]) == ("succeeded", 1.5)
    assert len(after["output"]["artifacts"]) == 3


async def test_a_callback_that_cannot_be_stored_does_not_affect_others_of_its_group(
    sqlite_url: str,
) -> None:
    async with running_service(sqlite_url) as service:
        refs = [await submit_ref(service) for _ in range(5)]
        await limit_values(service, 50_000)
        bodies = [b'{"status": "RUNNING"}'] * 4 + [
            b'{"status": "RUNNING", "x": "%s"}' % (b"x" * 60_000)
        ]

        intake = service.context.intake
        results = await asyncio.gather(
            *(
                intake.receive("useapi", ref, body, {})
                for ref, body in zip(refs, bodies, strict=True)
            ),
            return_exceptions=True,
        )
        answer = await service.call_back("useapi", refs[4], bodies[4])

    assert [type(result) for result in results] == [*[IntakeResult] * 4, Invalid]
    assert answer == 422


async def limit_values(service: Service, length: int) -> None:
    """Lower SQLite's limit for a value from a gigabyte to *length* bytes."""
    store = service.context.store
    assert isinstance(store, SqlStore)
    writer = store._database._writer  # type: ignore[attr-defined] # noqa: SLF001 - no setting
    limit = partial(writer._conn.setlimit, sqlite3.SQLITE_LIMIT_LENGTH, length)  # noqa: SLF001
    await writer._execute(limit)  # noqa: SLF001 - must run in the thread of the connection
