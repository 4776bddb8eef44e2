"""Live streams over real sockets: resumed without gap or repeat, and nobody else's events."""

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
    """An open stream: messages come one by one."""

    def __init__(self, response: httpx.Response, lines: AsyncIterator[str]) -> None:
        self.response, self._lines = response, lines

    async def next(self) -> Message | None:
        """The next message; None when the stream has closed."""
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
        """Read *count* heartbeats; a message before the last of them is an error."""
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
        """Everything until the stream closes."""
        found: list[Message] = []
        while (message := await self.next()) is not None:
            found.append(message)
        return found


def follow(
    client: Client, path: str = "/v1/stream", /, *, resume: int = -1, **query: str | int
) -> AbstractAsyncContextManager[Stream]:
    """Open a stream; it has begun when its first line, a comment, is here."""
    headers = {} if resume < 0 else {"last-event-id": str(resume)}

    @asynccontextmanager
    async def opened() -> AsyncIterator[Stream]:
        async with client.http.stream("GET", path, params=query, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            async with aclosing(response.aiter_lines()) as lines:  # type: ignore[type-var]
                assert await anext(lines) == ": open"
                yield Stream(response, lines)

    return opened()


async def an_ended_job(service: Service, **more: object) -> Json:
    job = await submit_job(service, **more)
    running = {"replyRef": job["ref"], "status": "RUNNING", "progressRatio": 0.5}
    assert await service.call_back("useapi", job["ref"], running) == 204
    assert await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE}) == 204
    return job


async def test_a_stream_is_what_browsers_expect_of_one(shared_service: Service) -> None:
    async with follow(shared_service) as stream:
        headers = stream.response.headers

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"


async def test_without_a_place_to_resume_a_stream_begins_now(service: Service) -> None:
    await an_ended_job(service)

    async with follow(service) as stream:
        job = await submit_job(service)
        message = await stream.next()

    assert message is not None
    assert (message.type, message.job) == ("job.queued", job["id"])


async def test_a_stream_resumes_without_gap_or_repeat(service: Service) -> None:
    async with follow(service, after=0) as stream:
        await an_ended_job(service)
        before = await stream.take(2)
    await an_ended_job(service)
    async with follow(service, resume=before[-1].seq) as stream:
        await an_ended_job(service)
        after = await stream.take(7)
    async with follow(service, after=0) as stream:
        whole = await stream.take(9)

    assert before + after == whole
    assert [message.seq for message in whole] == sorted({message.seq for message in whole})


async def test_a_stream_resumes_without_gap_or_repeat_while_events_are_written(
    service: Service,
) -> None:
    order = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}

    async def write() -> None:
        for _ in range(30):
            await service.post("/v1/jobs", [order] * 5)

    writing = asyncio.create_task(write())
    seen: list[int] = [0]
    while len(seen) < 151:
        async with follow(service, resume=seen[-1], event_types="job.queued") as stream:
            seen += [message.seq for message in await stream.take(min(40, 151 - len(seen)))]
    await writing
    async with follow(service, after=0) as stream:
        logged = [message.seq for message in await stream.take(150)]

    assert seen[1:] == logged


async def test_the_header_wins_over_the_query(service: Service) -> None:
    await an_ended_job(service)
    async with follow(service, after=0) as stream:
        first, second, third = await stream.take(3)

    async with follow(service, resume=second.seq, after=first.seq) as stream:
        message = await stream.next()

    assert message == third


async def test_all_who_follow_see_every_event_once_and_in_order(service: Service) -> None:
    async with follow(service, after=0) as one, follow(service, after=0) as other:
        await asyncio.gather(*(an_ended_job(service) for _ in range(30)))
        seen, same = await asyncio.gather(one.take(90), other.take(90))

    assert seen == same
    assert len({message.seq for message in seen}) == 90
    assert [message.seq for message in seen] == sorted(message.seq for message in seen)


async def test_a_message_carries_the_very_bytes_that_webhooks_do(
    service: Service, receiver: Receiver
) -> None:
    await service.subscribe(receiver.url)
    async with follow(service, event_types="job.succeeded") as stream:
        await an_ended_job(service)
        message = await stream.next()
    (told,) = await receiver.wait()

    assert message is not None
    assert message.data.encode() == told.body


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
async def test_a_stream_shows_what_it_was_asked_for(
    query: dict[str, Any], seen: list[str], service: Service
) -> None:
    wanted = await an_ended_job(service, tags=["mine", "too"])

    async with follow(service, after=0, **query) as stream:
        messages = await stream.take(len(seen))

    assert [message.type for message in messages] == seen
    assert {message.job for message in messages} == {wanted["id"]}


@pytest.mark.parametrize("query", [{"provider": "runware"}, {"tag": "mine"}], ids=str)
async def test_a_stream_shows_nothing_else(query: dict[str, Any], service: Service) -> None:
    await an_ended_job(service, tags=["other"])
    caption = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}

    async with follow(service, after=0, **query) as stream:
        wanted = await service.submit("runware", "imageCaption", caption, tags=["mine"])
        message = await stream.next()

    assert message is not None
    assert message.job == wanted["id"]


async def test_another_tenants_events_are_in_no_stream(service: Service) -> None:
    key = await service.another_key("jobs:read", "jobs:write", tenant="stranger")
    stranger = Client(service.url, key)
    mine = await an_ended_job(service)

    async with follow(stranger, after=0) as stream:
        await an_ended_job(service)
        theirs = await submit_job(stranger)
        message = await stream.next()
    other = await stranger.http.get(f"/v1/jobs/{mine['id']}/stream")
    await stranger.http.aclose()

    assert message is not None
    assert message.job == theirs["id"]
    assert other.status_code == 404


async def test_the_stream_of_a_job_begins_with_its_first_event_and_closes_after_its_end(
    service: Service,
) -> None:
    await an_ended_job(service)
    job = await submit_job(service)

    async with follow(service, f"/v1/jobs/{job['id']}/stream") as stream:
        await an_ended_job(service)
        await service.call_back("useapi", job["ref"], {"replyRef": job["ref"], **DONE})
        messages = await stream.rest()

    assert [message.type for message in messages] == ["job.queued", "job.succeeded"]
    assert {message.job for message in messages} == {job["id"]}


async def test_the_stream_of_a_job_that_was_tried_again_goes_on_after_its_first_end(
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
    job = await an_ended_job(service)
    path = f"/v1/jobs/{job['id']}/stream"
    async with follow(service, path) as stream:
        first, *others = await stream.rest()

    async with follow(service, path, resume=first.seq) as stream:
        resumed = await stream.rest()

    assert resumed == others


async def test_the_stream_of_a_job_that_was_read_to_its_end_closes_at_once(
    service: Service,
) -> None:
    job = await an_ended_job(service)
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
async def test_a_place_or_a_filter_that_cannot_be_is_refused(
    query: dict[str, str], headers: dict[str, str], path: str, shared_service: Service
) -> None:
    async with shared_service.http.stream(
        "GET", "/v1/stream", params=query, headers=headers
    ) as answer:
        assert answer.status_code == 422
        problem = msgspec.json.decode(await answer.aread())

    assert [fault["path"] for fault in problem["errors"]] == [path]


BEAT_SECONDS = 0.25
NEVER = 3600.0


@asynccontextmanager
async def traffic(client: Client) -> AsyncIterator[None]:
    """Submit jobs far more often than heartbeats go out."""

    async def submit() -> None:
        while True:
            await submit_job(client)
            await asyncio.sleep(BEAT_SECONDS / 5)

    async with asyncio.TaskGroup() as submitting:
        task = submitting.create_task(submit())
        yield
        task.cancel()


async def test_a_quiet_stream_has_heartbeats_while_other_tenants_have_traffic(
    database_url: str,
) -> None:
    async with running_service(database_url, BEAT_SECONDS) as service:
        stranger = Client(service.url, await service.another_key("admin", tenant="stranger"))

        async with stranger.http, follow(service) as stream, traffic(stranger):
            await stream.heartbeats(3)


@pytest.mark.parametrize("types", ["job.expired", "job.succeeded"])
async def test_a_stream_has_heartbeats_while_its_filter_leaves_everything_out(
    types: str, database_url: str
) -> None:
    async with (
        running_service(database_url, BEAT_SECONDS) as service,
        follow(service, event_types=types) as stream,
        traffic(service),
    ):
        await stream.heartbeats(3)


async def test_the_stream_of_a_job_has_heartbeats_while_other_jobs_move(database_url: str) -> None:
    async with running_service(database_url, BEAT_SECONDS) as service:
        job = await submit_job(service)

        async with follow(service, f"/v1/jobs/{job['id']}/stream") as stream, traffic(service):
            first = await stream.next()
            await stream.heartbeats(3)

    assert first is not None


class Reader(Client):
    """A user with a key that can be revoked, and the paths of both streams."""

    def __init__(self, service: Service, made: Json, job: Json) -> None:
        super().__init__(service.url, made["key"])
        self.key_id = str(made["id"])
        self.paths = {"all": "/v1/stream", "job": f"/v1/jobs/{job['id']}/stream"}


@asynccontextmanager
async def a_reader(service: Service) -> AsyncIterator[Reader]:
    made = await service.post("/v1/keys", {"scopes": ["jobs:read"]})
    reader = Reader(service, made, await submit_job(service))
    async with reader.http:
        yield reader


async def revoke(service: Service, key_id: str) -> None:
    answer = await service.http.delete(f"/v1/keys/{key_id}")
    assert answer.status_code == 204


@pytest.mark.parametrize("which", ["all", "job"])
async def test_a_stream_ends_when_its_key_is_revoked(which: str, database_url: str) -> None:
    async with (
        running_service(database_url, NEVER) as service,
        a_reader(service) as reader,
        a_reader(service) as other,
    ):
        path = reader.paths[which]
        async with follow(reader, path, resume=10**17) as stream, follow(other) as stays:
            await revoke(service, reader.key_id)
            rest = await stream.rest()
            job = await submit_job(service)
            message = await stays.next()
        again = await reader.http.get(path)

    assert rest == []
    assert message is not None
    assert message.job == job["id"]
    assert again.status_code == 401


@pytest.mark.parametrize("which", ["all", "job"])
async def test_a_stream_ends_within_a_heartbeat_of_its_keys_revocation_elsewhere(
    which: str, database_url: str
) -> None:
    async with (
        running_service(database_url, BEAT_SECONDS) as service,
        a_reader(service) as reader,
        follow(reader, reader.paths[which], resume=10**17) as stream,
    ):
        await stream.heartbeats(1)
        await service.context.store.api_keys.delete(reader.key_id)

        assert await stream.rest() == []


@pytest.mark.parametrize("types", ["*", "job.expired"])
async def test_a_stream_that_never_rests_ends_too_when_its_key_is_revoked_elsewhere(
    types: str, database_url: str
) -> None:
    async with (
        running_service(database_url, BEAT_SECONDS) as service,
        a_reader(service) as reader,
        follow(reader, event_types=types) as stream,
        traffic(service),
    ):
        await service.context.store.api_keys.delete(reader.key_id)

        async with asyncio.timeout(PATIENCE_SECONDS):
            await stream.rest()


async def test_a_key_that_is_revoked_at_one_process_ends_the_streams_of_another(
    postgres_url: str,
) -> None:
    async with (
        running_service(postgres_url, BEAT_SECONDS) as one,
        running_service(postgres_url, BEAT_SECONDS) as other,
        a_reader(one) as reader,
        follow(reader) as stream,
    ):
        await revoke(other, reader.key_id)

        assert await stream.rest() == []


async def test_the_admin_key_of_the_settings_is_never_looked_up(database_url: str) -> None:
    async with running_service(database_url, BEAT_SECONDS) as service, follow(service) as stream:
        await stream.heartbeats(3)


async def test_an_event_of_another_process_arrives(postgres_url: str) -> None:
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


async def test_a_client_that_leaves_is_forgotten(service: Service) -> None:
    async with follow(service):
        during = await open_streams(service)

    async with asyncio.timeout(10):
        while await open_streams(service):
            await submit_job(service)

    assert during == 1


async def test_a_tenant_has_no_more_streams_open_than_it_may(database_url: str) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="2") as service:
        key = await service.another_key("jobs:read", tenant="stranger")
        stranger = Client(service.url, key)
        job = await submit_job(service)
        async with follow(service), follow(service, f"/v1/jobs/{job['id']}/stream"):
            refused = await knock(service)
            async with follow(stranger):
                during = await open_streams(service)

        await eventually(lambda: is_let_in(service))
        await stranger.http.aclose()

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) > 0
    assert during == 3


async def test_a_request_that_is_refused_takes_no_streams_place(database_url: str) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="1") as service:
        bad = [await service.http.get("/v1/stream", params={"event_types": "x"}) for _ in range(2)]
        gone = [await service.http.get("/v1/jobs/job_1/stream") for _ in range(2)]

        async with follow(service):
            during = await open_streams(service)

    assert [answer.status_code for answer in bad + gone] == [422, 422, 404, 404]
    assert during == 1


async def test_a_stream_that_has_ended_by_itself_is_forgotten(database_url: str) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="1") as service:
        job = await an_ended_job(service)
        for _ in range(3):
            async with follow(service, f"/v1/jobs/{job['id']}/stream") as stream:
                await stream.rest()
                await eventually(lambda: none_is_open(service))


async def test_a_client_that_unread_stream_and_is_gone_is_forgotten(database_url: str) -> None:
    async with running_service(database_url, BELFRY_MAX_STREAMS="1") as service:
        await write_log(service.context.store, count=300, size=20_000)
        with unread_stream(service.http.base_url.port or 0) as client:
            await eventually(lambda: has_first_page(client))
            refused = await knock(service)

        await eventually(lambda: is_let_in(service))

    assert refused.status_code == 429


async def test_a_stream_that_breaks_off_is_forgotten(postgres_url: str) -> None:
    async with (
        running_service(postgres_url, BEAT_SECONDS) as service,
        a_reader(service) as reader,
        follow(reader) as stream,
    ):
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
            await admin.execute("ALTER TABLE api_keys RENAME TO keys_of_old")
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.rest()

        assert await open_streams(service) == 0


async def test_at_the_end_of_the_process_no_stream_is_left(database_url: str) -> None:
    async with running_service(database_url) as service:
        reading = asyncio.create_task(read_until_the_end(service))
        await eventually(lambda: open_streams(service))
    await reading

    assert REGISTRY.get_sample_value("belfry_streams") == 0


async def read_until_the_end(service: Service) -> list[Message]:
    client = Client(service.url)
    async with client.http, follow(client) as stream:
        return await stream.rest()


async def is_let_in(service: Service) -> bool:
    return (await knock(service)).status_code == 200


async def none_is_open(service: Service) -> bool:
    return await open_streams(service) == 0


async def knock(service: Service) -> httpx.Response:
    """Ask for a stream, and read the answer only if it is none."""
    async with service.http.stream("GET", "/v1/stream") as answer:
        if answer.status_code != 200:
            await answer.aread()
    return answer


async def open_streams(service: Service) -> int:
    lines = (await service.http.get("/metrics")).text.splitlines()
    return int(float(next(x for x in lines if x.startswith("belfry_streams ")).split()[1]))
