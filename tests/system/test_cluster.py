"""Two web and two worker processes on one PostgreSQL, while processes and server are taken away."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.support.databases import Server, own_server
from tests.support.receivers import Conversation, Receiver, json_answer, receiving, status
from tests.support.service_harness import (
    ADMIN_KEY,
    Json,
    ServiceProcess,
    eventually,
    plain_client,
    providers_at,
)

pytestmark = pytest.mark.anyio

JOBS = 20
PATIENCE = 100.0
"""Longer than the lease of a worker that was killed."""
DONE: Json = {"status": "SUCCEEDED", "artifacts": [{"id": "a", "url": "https://example.com/1"}]}
ORDER: Json = {"provider": "useapi", "operation": "frames.create"}


class Cluster:
    """The processes, the provider, the receiver, and the ledger of what was promised."""

    def __init__(self, webs: list[ServiceProcess], workers: list[ServiceProcess]) -> None:
        self.webs, self.workers = webs, workers
        self.jobs: dict[str, str] = {}
        self.called_back: set[str] = set()
        self.put: list[Json] = []
        self._turn = 0

    def web(self) -> ServiceProcess:
        """One web process after the other, whether it lives or not."""
        self._turn += 1
        return self.webs[self._turn % len(self.webs)]

    async def accept(self, conversation: Conversation) -> None:
        """Play the provider: take the task, and write it down."""
        sent = conversation.received.json
        self.put.append(sent)
        task = {"taskId": f"user:1-runwayml:me@example.com-task:{uuid4()}", "status": "PENDING"}
        await json_answer(200, {**task, "replyRef": sent["replyRef"]})(conversation)

    async def submit(self, name: str) -> None:
        """Submit until it is acknowledged, with one key all the time."""
        order = {**ORDER, "input": {"text_prompt": name}}
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "idempotency-key": name}
        answer = await self.until_taken("/v1/jobs", order, headers)
        self.jobs[answer["id"]] = answer["ref"]

    async def call_back(self, sent: Json) -> None:
        """Call back as the provider: running, then done, each until it is acknowledged."""
        parts = urlsplit(sent["replyUrl"])
        for said_of in ({"status": "RUNNING", "progressRatio": 0.5}, DONE):
            await self.until_taken(
                f"{parts.path}?{parts.query}", {"replyRef": sent["replyRef"], **said_of}, {}
            )
        self.called_back.add(sent["replyRef"])

    async def until_taken(self, path: str, body: Json, headers: dict[str, str]) -> Json:
        async def put() -> Json | None:
            try:
                async with plain_client() as client:
                    answer = await client.post(self.web().url + path, json=body, headers=headers)
            except httpx.TransportError:
                return None
            assert answer.is_success or answer.status_code == 503, answer.text
            return {"taken": True, **_body(answer)} if answer.is_success else None

        return dict(await eventually(put, PATIENCE))


def _body(answer: httpx.Response) -> Json:
    return dict(answer.json()) if answer.content else {}


@asynccontextmanager
async def a_cluster(url: str, folder: Path, provider: Receiver) -> AsyncIterator[Cluster]:
    """Start all four together: the first brings the schema, the others wait for it."""
    env = {**providers_at(provider.url), "USEAPI_MAX_JOBS": "100"}
    webs = [ServiceProcess(url, folder, "web", **env) for _ in range(2)]
    workers = [ServiceProcess(url, folder, "worker", **env) for _ in range(2)]
    cluster = Cluster(webs, workers)
    provider.otherwise = cluster.accept
    async with AsyncExitStack() as stack:
        for process in (*webs, *workers):
            stack.push_async_callback(process.close)
        await asyncio.gather(*(process.start() for process in (*webs, *workers)))
        yield cluster


@pytest.fixture
def server() -> Iterator[Server]:
    with own_server() as server:
        yield server


async def test_nothing_is_lost_while_processes_and_database_are_taken_away(
    server: Server, tmp_path: Path
) -> None:
    async with (
        receiving() as provider,
        receiving() as receiver,
        a_cluster(server.url, tmp_path, provider) as cluster,
    ):
        receiver.script = [status(503, retry_after="1") for _ in range(5)]
        await cluster.webs[0].subscribe(receiver.url, "job.*", delivery="every")
        streamed: list[tuple[int, str]] = []
        stream = asyncio.create_task(follow(cluster, streamed))

        await asyncio.gather(*(cluster.submit(f"one-{n}") for n in range(JOBS)))
        await eventually(lambda: all_have_reached(cluster, "submitted"), PATIENCE)
        await cluster.workers[0].kill()
        await asyncio.gather(
            kill_and_start(cluster.webs[0]), *(cluster.call_back(one) for one in cluster.put)
        )

        await asyncio.gather(restart(server), *(cluster.submit(f"two-{n}") for n in range(JOBS)))
        await eventually(lambda: put(cluster, 2 * JOBS), PATIENCE)
        left = [one for one in cluster.put if one["replyRef"] not in cluster.called_back]
        await asyncio.gather(*(cluster.call_back(one) for one in left))

        await eventually(lambda: all_have_reached(cluster, "succeeded"), PATIENCE)
        await eventually(lambda: nothing_owed(cluster), PATIENCE)
        log = await the_log(cluster)
        await eventually(lambda: is_streamed(streamed, log), PATIENCE)
        stream.cancel()

        assert sorted(one["replyRef"] for one in cluster.put) == sorted(cluster.jobs.values())
        assert await callbacks_kept(cluster) == 4 * JOBS
        assert [kind for _, kind in streamed] == [event["type"] for event in log]
        every_event_arrived_in_order(receiver, log)
        for process in (*cluster.webs, cluster.workers[1]):
            assert (await process.http.get("/readyz")).status_code == 200


async def follow(cluster: Cluster, seen: list[tuple[int, str]]) -> None:
    """Read the stream of all events, at whichever web process lives, from where it broke off."""
    while True:
        last = seen[-1][0] if seen else 0
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "last-event-id": str(last)}
        try:
            async with (
                plain_client() as client,
                client.stream("GET", cluster.web().url + "/v1/stream", headers=headers) as lines,
            ):
                async for line in lines.aiter_lines():
                    if line.startswith("id: "):
                        last = int(line.removeprefix("id: "))
                    if line.startswith("event: "):
                        seen.append((last, line.removeprefix("event: ")))
        except httpx.TransportError:
            await asyncio.sleep(0.05)


async def kill_and_start(process: ServiceProcess) -> None:
    await process.kill()
    await process.start()


async def restart(server: Server) -> None:
    """Stop the database as an administrator does, then as a power cut does."""
    for mode in ("fast", "immediate"):
        await asyncio.to_thread(server.stop, mode)
        await asyncio.to_thread(server.start)


async def all_have_reached(cluster: Cluster, wanted: str) -> bool:
    listed = await paged(cluster, "/v1/jobs")
    return {job["id"] for job in listed if job["status"] == wanted} == set(cluster.jobs)


async def put(cluster: Cluster, count: int) -> bool:
    return len(cluster.put) >= count


async def nothing_owed(cluster: Cluster) -> bool:
    return not await cluster.webs[0].deliveries(status="pending")


async def the_log(cluster: Cluster) -> list[Json]:
    return (await paged(cluster, "/v1/events"))[::-1]


async def is_streamed(streamed: list[tuple[int, str]], log: list[Json]) -> bool:
    return len(streamed) >= len(log)


async def callbacks_kept(cluster: Cluster) -> int:
    kept = await paged(cluster, "/v1/callbacks")
    return len([one for one in kept if one["verdict"] == "accepted"])


async def paged(cluster: Cluster, path: str) -> list[Json]:
    found: list[Json] = []
    cursor: dict[str, str | int] = {}
    while True:
        page = await cluster.webs[0].get(path, limit=100, **cursor)
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def every_event_arrived_in_order(receiver: Receiver, log: list[Json]) -> None:
    arrived: dict[str, list[int]] = defaultdict(list)
    ids = set()
    for one in receiver.received:
        event = one.event
        assert one.headers["webhook-id"] == event["id"]
        sequences = arrived[event["data"]["id"]]
        if event["sequence"] not in sequences:
            sequences.append(event["sequence"])
        ids.add(event["id"])
    assert ids == {event["id"] for event in log}
    assert all(sequences == sorted(sequences) for sequences in arrived.values())


async def test_while_the_database_is_away_all_is_told_and_then_made_good(
    server: Server, tmp_path: Path
) -> None:
    async with receiving() as provider, a_cluster(server.url, tmp_path, provider) as cluster:
        web = cluster.webs[0]
        server.stop()
        order = {**ORDER, "input": {"text_prompt": "x"}}
        refused = await web.http.post("/v1/jobs", json=order)
        ready = [await one.unready() for one in (web, cluster.workers[0])]
        server.start()
        await eventually(lambda: well(web), PATIENCE)
        await eventually(lambda: well(cluster.workers[0]), PATIENCE)
        await cluster.submit("after")
        await eventually(lambda: put(cluster, 1), PATIENCE)
        await cluster.call_back(cluster.put[0])
        await eventually(lambda: all_have_reached(cluster, "succeeded"), PATIENCE)
        logs = [one.log.read_text() for one in (web, *cluster.workers)]

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert [answer.status_code for answer in ready] == [503, 503]
    assert "is not available" in ready[0].json()["store"]
    assert not any("loop.died" in log for log in logs)


async def well(process: ServiceProcess) -> bool:
    return (await process.http.get("/readyz")).status_code == 200


async def test_work_starts_though_every_notification_is_lost(
    server: Server, tmp_path: Path
) -> None:
    async with receiving() as provider, a_cluster(server.url, tmp_path, provider) as cluster:
        await eventually(lambda: deafened(server.url))
        await cluster.submit("unheard")

        async with asyncio.timeout(10):
            await eventually(lambda: put(cluster, 1))

    assert len(cluster.put) == 1


async def deafened(url: str) -> bool:
    """Cut every connection that listens; True when there was one."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        cursor = await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%%'",
            {},
        )
        return len(await cursor.fetchall()) > 0
