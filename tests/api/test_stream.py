"""Event streams over real sockets: order, resuming, filters, heartbeats, revoked API keys."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from service.domain.events import PAGE_BYTES
from service.runtime.observability.metrics import REGISTRY
from service.transactions.change_set import ChangeSet
from tests.support.factories import an_event
from tests.support.job_steps import DONE, submit_job
from tests.support.receivers import Receiver
from tests.support.service_harness import (
    PATIENCE_SECONDS,
    Client,
    Json,
    Service,
    eventually,
    running_service,
)
from tests.support.silent_readers import has_first_page, unread_stream, write_log
from tests.support.transactions import change

pytestmark = pytest.mark.anyio


class Message(msgspec.Struct, frozen=True):
    """One server-sent event."""

    seq: int
    type: str
    data: str

    @property
    def job(self) -> str:
        return str(msgspec.json.decode(self.data)["data"]["id"])


class Stream:
    """An open stream, which returns its messages one by one."""

    def __init__(self, response: httpx.Response, lines: AsyncIterator[str]) -> None:
        self.response, self._lines = response, lines

    async def next(self) -> Message | None:
        """Return the next message; None when the stream has closed."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = value
                elif "id" in fields:
                    return Message(int(fields["id"]), fields["event"], fields["data"])
        return None

    async def heartbeats(self, count: int) -> None:
        """Read *count* heartbeats; fails if a message arrives before the last one."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self._lines:
                assert line in (": still here", "")
                count -= line == ": still here"
                if not count:
                    return
        raise AssertionError("the stream has closed")

    async def take(self, count: int) -> list[Message]:
        found = [await self.next() for _ in range(count)]
        return [message for message in found if message is not None]

    async def rest(self) -> list[Message]:
        """Return all messages until the stream closes."""
        found: list[Message] = []
        while (message := await self.next()) is not None:
            found.append(message)
        return found


def follow(
    client: Client, path: str = "/v1/stream", /, *, resume: int = -1, **query: str | int
) -> AbstractAsyncContextManager[Stream]:
    """Open a stream, and wait for its first line, which is a comment."""
    headers = {} if resume < 0 else {"last-event-id": str(resume)}

    @asynccontextmanager
    async def opened() -> AsyncIterator[Stream]:
        async with client.http.stream("GET", path, params=query, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            async with aclosing(response.aiter_lines()) as lines:  # type: ignore[type-var]
                assert await anext(lines) == ": open"
                yield Stream(response, lines)

    return opened()


async def finish_job(service: Service, **more: object) -> Json:
    job = await submit_job(service, **more)
    running = {"replyRef": job["ref"], "status": "RUNNING", "progressRatio": 0.5}
    assert await service.call_back("useapi", job["ref"], running) == 204
    assert await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE}) == 204
    return job


async def test_a_stream_has_the_headers_that_browsers_expect(shared_service: Service) -> None:
    async with follow(shared_service) as stream:
        headers = stream.response.headers

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"


async def test_a_stream_without_a_position_begins_with_new_events(service: Service) -> None:
    await finish_job(service)

    async with follow(service) as stream:
        job = await submit_job(service)
        message = await stream.next()

    assert message is not None
    assert (message.type, message.job) == ("job.queued", job["id"])


async def test_a_stream_resumes_without_gaps_or_repeats(service: Service) -> None:
    async with follow(service, after=0) as stream:
        await finish_job(service)
        before = await stream.take(2)
    await finish_job(service)
    async with follow(service, resume=before[-1].seq) as stream:
        await finish_job(service)
        after = await stream.take(7)
    async with follow(service, after=0) as stream:
        complete = await stream.take(9)

    assert before + after == complete
    assert [message.seq for message in complete] == sorted({message.seq for message in complete})


async def test_a_stream_resumes_without_gaps_or_repeats_while_events_are_written(
    service: Service,
) -> None:
    body = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}

    async def write() -> None:
        for _ in range(30):
            await service.post("/v1/jobs", [body] * 5)

    writing = asyncio.create_task(write())
    seen: list[int] = [0]
    while len(seen) < 151:
        async with follow(service, resume=seen[-1], event_types="job.queued") as stream:
            seen += [message.seq for message in await stream.take(min(40, 151 - len(seen)))]
    await writing
    async with follow(service, after=0) as stream:
        logged = [message.seq for message in await stream.take(150)]

    assert seen[1:] == logged


async def test_the_last_event_id_header_takes_precedence_over_the_query(service: Service) -> None:
    await finish_job(service)
    async with follow(service, after=0) as stream:
        first, second, third = await stream.take(3)

    async with follow(service, resume=second.seq, after=first.seq) as stream:
        message = await stream.next()

    assert message == third


async def test_all_streams_have_every_event_once_and_in_order(service: Service) -> None:
    async with follow(service, after=0) as one, follow(service, after=0) as other:
        await asyncio.gather(*(finish_job(service) for _ in range(30)))
        seen, same = await asyncio.gather(one.take(90), other.take(90))

    assert seen == same
    assert len({message.seq for message in seen}) == 90
    assert [message.seq for message in seen] == sorted(message.seq for message in seen)


async def test_a_message_has_the_same_bytes_as_the_webhook(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url)
    async with follow(service, event_types="job.succeeded") as stream:
        await finish_job(service)
        message = await stream.next()
    (webhook,) = await receiver.wait()

    assert message is not None
    assert message.data.encode() == webhook.body


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ({"event_types": "job.succeeded"}, ["job.succeeded"]),
        ({"event_types": "job.running, job.succeeded"}, ["job.running", "job.succeeded"]),
        ({"event_types": "job.*"}, ["job.queued", "job.running", "job.succeeded"]),
        ({"event_types": "*"}, ["job.queued", "job.running", "job.succeeded"]),
        ({"tag": "mine"}, ["job.queued", "job.running", "job.succeeded"]),
        ({"tag": "mine", "event_types": "job.succeeded"}, ["job.succeeded"]),
        ({"provider": "useapi"}, ["job.queued", "job.running", "job.succeeded"]),
    ],
    ids=str,
)
async def test_a_stream_has_the_events_that_match_its_filters(
    query: dict[str, Any], seen: list[str], service: Service
) -> None:
    job = await finish_job(service, tags=["mine", "other"])

    async with follow(service, after=0, **query) as stream:
        messages = await stream.take(len(seen))

    assert [message.type for message in messages] == seen
    assert {message.job for message in messages} == {job["id"]}


@pytest.mark.parametrize("query", [{"provider": "runware"}, {"tag": "mine"}], ids=str)
async def test_a_stream_has_no_events_that_do_not_match_its_filters(
    query: dict[str, Any], service: Service
) -> None:
    await finish_job(service, tags=["other"])
    caption = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}

    async with follow(service, after=0, **query) as stream:
        job = await service.submit("runware", "imageCaption", caption, tags=["mine"])
        message = await stream.next()

    assert message is not None
    assert message.job == job["id"]


async def test_a_stream_has_no_events_of_other_tenants(service: Service) -> None:
    key = await service.another_key("jobs:read", "jobs:write", tenant="other_tenant")
    other_tenant = Client(service.url, key)
    hidden = await finish_job(service)

    async with follow(other_tenant, after=0) as stream:
        await finish_job(service)
        visible = await submit_job(other_tenant)
        message = await stream.next()
    other = await other_tenant.http.get(f"/v1/jobs/{hidden['id']}/stream")
    await other_tenant.http.aclose()

    assert message is not None
    assert message.job == visible["id"]
    assert other.status_code == 404


async def test_the_stream_of_a_job_begins_with_its_first_event_and_closes_after_its_last(
    service: Service,
) -> None:
    await finish_job(service)
    job = await submit_job(service)

    async with follow(service, f"/v1/jobs/{job['id']}/stream") as stream:
        await finish_job(service)
        await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE})
        messages = await stream.rest()

    assert [message.type for message in messages] == ["job.queued", "job.succeeded"]
    assert {message.job for message in messages} == {job["id"]}


async def test_the_stream_of_a_retried_job_continues_after_its_first_end(
    service: Service,
) -> None:
    job = await submit_job(service)
    types = ["job.queued", "job.failed", "job.queued", "job.succeeded"]
    page = {"tenant": "default", "job_id": job["id"], "payload": b"x" * PAGE_BYTES}
    later = [an_event(type=kind, **page) for kind in types[1:]]
    await change(service.context.store, [], lambda _: ChangeSet(events=later))

    async with follow(service, f"/v1/jobs/{job['id']}/stream") as stream:
        messages = await stream.rest()

    assert [message.type for message in messages] == types


async def test_the_stream_of_a_job_resumes_in_the_middle(service: Service) -> None:
    job = await finish_job(service)
    path = f"/v1/jobs/{job['id']}/stream"
    async with follow(service, path) as stream:
        first, *others = await stream.rest()

    async with follow(service, path, resume=first.seq) as stream:
        resumed = await stream.rest()

    assert resumed == others


async def test_the_stream_of_a_job_closes_at_once_when_resumed_after_its_last_event(
    service: Service,
) -> None:
    job = await finish_job(service)
    path = f"/v1/jobs/{job['id']}/stream"
    async with follow(service, path) as stream:
        last = (await stream.rest())[-1]

    async with follow(service, path, resume=last.seq) as stream:
        again = await stream.rest()

    assert again == []


@pytest.mark.parametrize(
    ("query", "headers", "path"),
    [
        ({"event_types": "job.sucess"}, {}, "?event_types[0]"),
        ({"colour": "red"}, {}, "?colour"),
        ({}, {"last-event-id": "first"}, "Last-Event-ID"),
        ({}, {"last-event-id": "-1"}, "Last-Event-ID"),
        ({}, {"last-event-id": "9" * 20}, "Last-Event-ID"),
        ({"after": "first"}, {}, "?after"),
        ({"after": "-1"}, {}, "?after"),
        ({"after": "9" * 20}, {}, "?after"),
    ],
    ids=str,
)
async def test_an_invalid_position_or_filter_is_refused(
    query: dict[str, str], headers: dict[str, str], path: str, shared_service: Service
) -> None:
    async with shared_service.http.stream(
        "GET", "/v1/stream", params=query, headers=headers
    ) as response:
        assert response.status_code == 422
        problem = msgspec.json.decode(await response.aread())

    assert [fault["path"] for fault in problem["errors"]] == [path]


HEARTBEAT_SECONDS = 0.25
NO_HEARTBEAT_SECONDS = 3600.0


@asynccontextmanager
async def traffic(client: Client) -> AsyncIterator[None]:
    """Submit jobs at five times the rate of heartbeats."""

    async def submit() -> None:
        while True:
            await submit_job(client)
            await asyncio.sleep(HEARTBEAT_SECONDS / 5)

    async with asyncio.TaskGroup() as submitting:
        task = submitting.create_task(submit())
        yield
        task.cancel()


async def test_a_quiet_stream_has_heartbeats_while_other_tenants_have_traffic(
    database_url: str,
) -> None:
    async with running_service(database_url, HEARTBEAT_SECONDS) as service:
        other_tenant = Client(
            service.url, await service.another_key("admin", tenant="other_tenant")
        )

        async with other_tenant.http, follow(service) as stream, traffic(other_tenant):
            await stream.heartbeats(3)


@pytest.mark.parametrize("types", ["job.expired", "job.succeeded"])
async def test_a_stream_has_heartbeats_while_its_filter_excludes_all_events(
    types: str, database_url: str
) -> None:
    async with (
        running_service(database_url, HEARTBEAT_SECONDS) as service,
        follow(service, event_types=types) as stream,
        traffic(service),
    ):
        await stream.heartbeats(3)


async def test_the_stream_of_a_job_has_heartbeats_while_other_jobs_have_events(
    database_url: str,
) -> None:
    async with running_service(database_url, HEARTBEAT_SECONDS) as service:
        job = await submit_job(service)

        async with follow(service, f"/v1/jobs/{job['id']}/stream") as stream, traffic(service):
            first = await stream.next()
            await stream.heartbeats(3)

    assert first is not None


class Reader(Client):
    """A client with a revocable API key, and the paths of both kinds of stream."""

    def __init__(self, service: Service, created: Json, job: Json) -> None:
        super().__init__(service.url, created["key"])
        self.key_id = str(created["id"])
        self.paths = {"all": "/v1/stream", "job": f"/v1/jobs/{job['id']}/stream"}


@asynccontextmanager
async def new_reader(service: Service) -> AsyncIterator[Reader]:
    created = await service.post("/v1/keys", {"scopes": ["jobs:read"]})
    reader = Reader(service, created, await submit_job(service))
    async with reader.http:
        yield reader


async def revoke(service: Service, key_id: str) -> None:
    response = await service.http.delete(f"/v1/keys/{key_id}")
    assert response.status_code == 204


@pytest.mark.parametrize("which", ["all", "job"])
async def test_a_stream_ends_when_its_key_is_revoked(which: str, database_url: str) -> None:
    async with (
        running_service(database_url, NO_HEARTBEAT_SECONDS) as service,
        new_reader(service) as reader,
        new_reader(service) as other,
    ):
        path = reader.paths[which]
        async with follow(reader, path, resume=10**17) as stream, follow(other) as other_stream:
            await revoke(service, reader.key_id)
            rest = await stream.rest()
            job = await submit_job(service)
            message = await other_stream.next()
        again = await reader.http.get(path)

    assert rest == []
    assert message is not None
    assert message.job == job["id"]
    assert again.status_code == 401


@pytest.mark.parametrize("which", ["all", "job"])
async def test_a_stream_ends_within_a_heartbeat_after_its_key_is_deleted_in_the_store(
    which: str, database_url: str
) -> None:
    async with (
        running_service(database_url, HEARTBEAT_SECONDS) as service,
        new_reader(service) as reader,
        follow(reader, reader.paths[which], resume=10**17) as stream,
    ):
        await stream.heartbeats(1)
        await service.context.store.api_keys.delete(reader.key_id)

        assert await stream.rest() == []


@pytest.mark.parametrize("types", ["*", "job.expired"])
async def test_a_busy_stream_ends_after_its_key_is_deleted_in_the_store(
    types: str, database_url: str
) -> None:
    async with (
        running_service(database_url, HEARTBEAT_SECONDS) as service,
        new_reader(service) as reader,
        follow(reader, event_types=types) as stream,
        traffic(service),
    ):
        await service.context.store.api_keys.delete(reader.key_id)

        async with asyncio.timeout(PATIENCE_SECONDS):
            await stream.rest()


async def test_a_key_revoked_in_one_process_ends_the_streams_of_another(
    postgres_url: str,
) -> None:
    async with (
        running_service(postgres_url, HEARTBEAT_SECONDS) as one,
        running_service(postgres_url, HEARTBEAT_SECONDS) as other,
        new_reader(one) as reader,
        follow(reader) as stream,
    ):
        await revoke(other, reader.key_id)

        assert await stream.rest() == []


async def test_a_stream_with_the_admin_key_of_the_settings_stays_open(database_url: str) -> None:
    async with (
        running_service(database_url, HEARTBEAT_SECONDS) as service,
        follow(service) as stream,
    ):
        await stream.heartbeats(3)


async def test_a_stream_has_the_events_of_other_processes(postgres_url: str) -> None:
    async with (
        running_service(postgres_url) as one,
        running_service(postgres_url) as other,
        follow(one) as stream,
        follow(other) as same,
    ):
        jobs = [await submit_job(other), await submit_job(one), await submit_job(other)]
        messages = [await stream.take(3), await same.take(3)]

    assert messages[0] == messages[1]
    assert [message.job for message in messages[0]] == [job["id"] for job in jobs]


async def test_a_stream_is_closed_when_its_client_disconnects(service: Service) -> None:
    async with follow(service):
        during = await open_streams(service)

    async with asyncio.timeout(10):
        while await open_streams(service):
            await submit_job(service)

    assert during == 1


async def test_a_tenant_cannot_open_more_streams_than_the_limit(database_url: str) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="2") as service:
        key = await service.another_key("jobs:read", tenant="other_tenant")
        other_tenant = Client(service.url, key)
        job = await submit_job(service)
        async with follow(service), follow(service, f"/v1/jobs/{job['id']}/stream"):
            refused = await request_stream(service)
            async with follow(other_tenant):
                during = await open_streams(service)

        await eventually(lambda: can_open_stream(service))
        await other_tenant.http.aclose()

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) > 0
    assert during == 3


async def test_a_refused_request_does_not_count_as_an_open_stream(database_url: str) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="1") as service:
        invalid = [
            await service.http.get("/v1/stream", params={"event_types": "x"}) for _ in range(2)
        ]
        missing = [await service.http.get("/v1/jobs/job_1/stream") for _ in range(2)]

        async with follow(service):
            during = await open_streams(service)

    assert [response.status_code for response in invalid + missing] == [422, 422, 404, 404]
    assert during == 1


async def test_a_stream_that_has_ended_no_longer_counts(database_url: str) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="1") as service:
        job = await finish_job(service)
        for _ in range(3):
            async with follow(service, f"/v1/jobs/{job['id']}/stream") as stream:
                await stream.rest()
                await eventually(lambda: no_stream_is_open(service))


async def test_the_stream_of_a_client_that_never_read_is_closed_when_it_disconnects(
    database_url: str,
) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="1") as service:
        await write_log(service.context.store, count=300, size=20_000)
        with unread_stream(service.http.base_url.port or 0) as client:
            await eventually(lambda: has_first_page(client))
            refused = await request_stream(service)

        await eventually(lambda: can_open_stream(service))

    assert refused.status_code == 429


async def test_a_stream_that_fails_no_longer_counts(postgres_url: str) -> None:
    async with (
        running_service(postgres_url, HEARTBEAT_SECONDS) as service,
        new_reader(service) as reader,
        follow(reader) as stream,
    ):
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
            await admin.execute("ALTER TABLE api_keys RENAME TO keys_of_old")
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.rest()

        assert await open_streams(service) == 0


async def test_a_stopping_process_closes_all_streams(database_url: str) -> None:
    async with running_service(database_url) as service:
        reading = asyncio.create_task(read_until_the_end(service))
        await eventually(lambda: open_streams(service))
    await reading

    assert REGISTRY.get_sample_value("belfry_streams") == 0


async def read_until_the_end(service: Service) -> list[Message]:
    client = Client(service.url)
    async with client.http, follow(client) as stream:
        return await stream.rest()


async def can_open_stream(service: Service) -> bool:
    return (await request_stream(service)).status_code == 200


async def no_stream_is_open(service: Service) -> bool:
    return await open_streams(service) == 0


async def request_stream(service: Service) -> httpx.Response:
    """Request a stream, and read the body only if the request is refused."""
    async with service.http.stream("GET", "/v1/stream") as response:
        if response.status_code != 200:
            await response.aread()
    return response


async def open_streams(service: Service) -> int:
    lines = (await service.http.get("/metrics")).text.splitlines()
    return int(float(next(x for x in lines if x.startswith("belfry_streams ")).split()[1]))
