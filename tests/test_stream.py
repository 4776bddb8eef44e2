"""Event streams: every event once, in order, from wherever the client left off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from tests.running import ADMIN_KEY, Json, Service

pytestmark = pytest.mark.anyio

ORDER: Json = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}


async def messages(
    service: Service, path: str, key: str = ADMIN_KEY, **headers: str
) -> AsyncIterator[tuple[int, str]]:
    """Read the (id, type) of messages for as long as the stream is open."""
    sent = {"authorization": f"Bearer {key}", **headers}
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", service.url + path, headers=sent) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        seq = 0
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                seq = int(line.removeprefix("id: "))
            elif line.startswith("event: "):
                yield seq, line.removeprefix("event: ")


async def take(stream: AsyncIterator[tuple[int, str]], count: int) -> list[tuple[int, str]]:
    taken = []
    async with asyncio.timeout(20):
        async for message in stream:
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def fail(service: Service, job: Json) -> None:
    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})


async def test_a_stream_resumes_without_gap_or_repeat_while_events_are_written(
    service: Service,
) -> None:
    async def write() -> None:
        for _ in range(30):
            await service.post("/v1/jobs", [ORDER] * 5)

    writing = asyncio.create_task(write())
    seen: list[int] = []
    while len(seen) < 150:
        last = str(seen[-1]) if seen else "0"
        stream = messages(service, "/v1/stream?types=job.queued", **{"last-event-id": last})
        async with aclosing(stream):  # type: ignore[type-var]
            seen += [seq for seq, _ in await take(stream, min(40, 150 - len(seen)))]
    await writing
    logged = [
        event
        for _, event in await take(messages(service, "/v1/stream?types=job.queued&after=0"), 150)
    ]

    assert seen == sorted(set(seen))
    assert len(logged) == 150


async def test_a_stream_is_filtered_by_type_provider_and_tag(service: Service) -> None:
    plain = await service.post("/v1/jobs", ORDER)
    tagged = await service.post("/v1/jobs", {**ORDER, "tags": ["mine"]})
    await fail(service, plain)
    await fail(service, tagged)

    failed = await take(messages(service, "/v1/stream?types=job.failed&after=0"), 2)
    mine = await take(messages(service, "/v1/stream?tag=mine&provider=useapi&after=0"), 2)

    assert [kind for _, kind in failed] == ["job.failed", "job.failed"]
    assert [kind for _, kind in mine] == ["job.queued", "job.failed"]


async def test_without_a_place_to_resume_a_stream_begins_now(service: Service) -> None:
    job = await service.post("/v1/jobs", ORDER)
    stream = messages(service, "/v1/stream")

    reading = asyncio.create_task(take(stream, 1))
    while not reading.done():
        await fail(service, await service.post("/v1/jobs", ORDER))
    ((_, kind),) = await reading

    assert kind in ("job.queued", "job.failed")
    assert job["id"]


async def test_a_stream_shows_nothing_of_another_tenant(service: Service) -> None:
    mine = await service.post("/v1/jobs", ORDER)
    key = await service.another_key("admin", tenant="stranger")
    headers = {"authorization": f"Bearer {key}"}
    other = (await service.http.post("/v1/jobs", json=ORDER, headers=headers)).json()

    ((_, first),) = await take(messages(service, "/v1/stream?after=0", key), 1)
    refused = await service.http.get(f"/v1/jobs/{mine['id']}/stream", headers=headers)
    listed = (await service.http.get("/v1/events", headers=headers)).json()["data"]

    assert first == "job.queued"
    assert refused.status_code == 404
    assert [event["data"]["id"] for event in listed] == [other["id"]]


async def test_a_jobs_stream_closes_after_its_end(service: Service) -> None:
    job = await service.post("/v1/jobs", ORDER)
    await fail(service, job)

    async with asyncio.timeout(10):
        kinds = [kind async for _, kind in messages(service, f"/v1/jobs/{job['id']}/stream")]

    assert kinds == ["job.queued", "job.failed"]


@pytest.mark.parametrize("last", ["x", "-1", "1" * 30])
async def test_a_place_that_is_none_is_refused(last: str, service: Service) -> None:
    answer = await service.http.get("/v1/stream", headers={"last-event-id": last})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "Last-Event-ID"
