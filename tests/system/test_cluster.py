"""Two web and two worker processes on one PostgreSQL, while processes and the server restart."""

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
JOB_REQUEST: Json = {"provider": "useapi", "operation": "frames.create"}


class Cluster:
    """The processes, and what the tests expect of them.

    *jobs* maps the ids of acknowledged jobs to their refs, *tasks* are the requests that the
    provider received, *called_back* the refs of the tasks that it has ended.
    """

    def __init__(self, webs: list[ServiceProcess], workers: list[ServiceProcess]) -> None:
        self.webs, self.workers = webs, workers
        self.jobs: dict[str, str] = {}
        self.called_back: set[str] = set()
        self.tasks: list[Json] = []
        self._next_web = 0

    def web(self) -> ServiceProcess:
        """Return the web processes in turn, whether they run or not."""
        self._next_web += 1
        return self.webs[self._next_web % len(self.webs)]

    async def accept(self, conversation: Conversation) -> None:
        """Accept a task as the provider does, and remember it."""
        task = conversation.received.json
        self.tasks.append(task)
        answer = {"taskId": f"user:1-runwayml:me@example.com-task:{uuid4()}", "status": "PENDING"}
        await json_answer(200, {**answer, "replyRef": task["replyRef"]})(conversation)

    async def submit(self, name: str) -> None:
        """Submit until it is acknowledged, always with the same idempotency key."""
        request = {**JOB_REQUEST, "input": {"text_prompt": name}}
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "idempotency-key": name}
        answer = await self.post_until_accepted("/v1/jobs", request, headers)
        self.jobs[answer["id"]] = answer["ref"]

    async def call_back(self, task: Json) -> None:
        """Call back as the provider: running, then done, each until it is acknowledged."""
        parts = urlsplit(task["replyUrl"])
        for state in ({"status": "RUNNING", "progressRatio": 0.5}, DONE):
            await self.post_until_accepted(
                f"{parts.path}?{parts.query}", {"replyRef": task["replyRef"], **state}, {}
            )
        self.called_back.add(task["replyRef"])

    async def post_until_accepted(self, path: str, body: Json, headers: dict[str, str]) -> Json:
        """Repeat a request at all web processes until one answers 2xx; 503 is the only error."""

        async def post() -> Json | None:
            try:
                async with plain_client() as client:
                    answer = await client.post(self.web().url + path, json=body, headers=headers)
            except httpx.TransportError:
                return None
            assert answer.is_success or answer.status_code == 503, answer.text
            return {"accepted": True, **_body(answer)} if answer.is_success else None

        return dict(await eventually(post, PATIENCE))


def _body(answer: httpx.Response) -> Json:
    return dict(answer.json()) if answer.content else {}


@asynccontextmanager
async def running_cluster(url: str, folder: Path, provider: Receiver) -> AsyncIterator[Cluster]:
    """Start all four processes at once: the first migrates the schema, the others wait."""
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


async def test_nothing_is_lost_while_processes_are_killed_and_the_database_restarts(
    server: Server, tmp_path: Path
) -> None:
    async with (
        receiving() as provider,
        receiving() as receiver,
        running_cluster(server.url, tmp_path, provider) as cluster,
    ):
        receiver.script = [status(503, retry_after="1") for _ in range(5)]
        await cluster.webs[0].subscribe(receiver.url, "job.*", delivery="every")
        streamed: list[tuple[int, str]] = []
        stream = asyncio.create_task(follow(cluster, streamed))

        await asyncio.gather(*(cluster.submit(f"one-{n}") for n in range(JOBS)))
        await eventually(lambda: all_have_reached(cluster, "submitted"), PATIENCE)
        await cluster.workers[0].kill()
        await asyncio.gather(
            kill_and_start(cluster.webs[0]), *(cluster.call_back(task) for task in cluster.tasks)
        )

        await asyncio.gather(restart(server), *(cluster.submit(f"two-{n}") for n in range(JOBS)))
        await eventually(lambda: has_tasks(cluster, 2 * JOBS), PATIENCE)
        left = [task for task in cluster.tasks if task["replyRef"] not in cluster.called_back]
        await asyncio.gather(*(cluster.call_back(task) for task in left))

        await eventually(lambda: all_have_reached(cluster, "succeeded"), PATIENCE)
        await eventually(lambda: nothing_pending(cluster), PATIENCE)
        log = await event_log(cluster)
        await eventually(lambda: is_streamed(streamed, log), PATIENCE)
        stream.cancel()

        assert sorted(task["replyRef"] for task in cluster.tasks) == sorted(cluster.jobs.values())
        assert await accepted_callbacks(cluster) == 4 * JOBS
        assert [kind for _, kind in streamed] == [event["type"] for event in log]
        assert_every_event_arrived_in_order(receiver, log)
        for process in (*cluster.webs, cluster.workers[1]):
            assert (await process.http.get("/readyz")).status_code == 200


async def follow(cluster: Cluster, seen: list[tuple[int, str]]) -> None:
    """Read the stream of all events; after a disconnect continue at the other web process."""
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
    """Restart the database server twice: after a shutdown, then after a crash."""
    for mode in ("fast", "immediate"):
        await asyncio.to_thread(server.stop, mode)
        await asyncio.to_thread(server.start)


async def all_have_reached(cluster: Cluster, wanted: str) -> bool:
    listed = await fetch_all_pages(cluster, "/v1/jobs")
    return {job["id"] for job in listed if job["status"] == wanted} == set(cluster.jobs)


async def has_tasks(cluster: Cluster, count: int) -> bool:
    return len(cluster.tasks) >= count


async def nothing_pending(cluster: Cluster) -> bool:
    return not await cluster.webs[0].deliveries(status="pending")


async def event_log(cluster: Cluster) -> list[Json]:
    return (await fetch_all_pages(cluster, "/v1/events"))[::-1]


async def is_streamed(streamed: list[tuple[int, str]], log: list[Json]) -> bool:
    return len(streamed) >= len(log)


async def accepted_callbacks(cluster: Cluster) -> int:
    stored = await fetch_all_pages(cluster, "/v1/callbacks")
    return len([callback for callback in stored if callback["verdict"] == "accepted"])


async def fetch_all_pages(cluster: Cluster, path: str) -> list[Json]:
    found: list[Json] = []
    cursor: dict[str, str | int] = {}
    while True:
        page = await cluster.webs[0].get(path, limit=100, **cursor)
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def assert_every_event_arrived_in_order(receiver: Receiver, log: list[Json]) -> None:
    arrived: dict[str, list[int]] = defaultdict(list)
    ids = set()
    for webhook in receiver.received:
        event = webhook.event
        assert webhook.headers["webhook-id"] == event["id"]
        sequences = arrived[event["data"]["id"]]
        if event["sequence"] not in sequences:
            sequences.append(event["sequence"])
        ids.add(event["id"])
    assert ids == {event["id"] for event in log}
    assert all(sequences == sorted(sequences) for sequences in arrived.values())


async def test_requests_get_503_while_the_database_is_down_and_work_after_its_restart(
    server: Server, tmp_path: Path
) -> None:
    async with receiving() as provider, running_cluster(server.url, tmp_path, provider) as cluster:
        web = cluster.webs[0]
        server.stop()
        request = {**JOB_REQUEST, "input": {"text_prompt": "x"}}
        refused = await web.http.post("/v1/jobs", json=request)
        unready = [await one.unready() for one in (web, cluster.workers[0])]
        server.start()
        await eventually(lambda: is_ready(web), PATIENCE)
        await eventually(lambda: is_ready(cluster.workers[0]), PATIENCE)
        await cluster.submit("after")
        await eventually(lambda: has_tasks(cluster, 1), PATIENCE)
        await cluster.call_back(cluster.tasks[0])
        await eventually(lambda: all_have_reached(cluster, "succeeded"), PATIENCE)
        logs = [one.log.read_text() for one in (web, *cluster.workers)]

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert [answer.status_code for answer in unready] == [503, 503]
    assert "is not available" in unready[0].json()["store"]
    assert not any("loop.died" in log for log in logs)


async def is_ready(process: ServiceProcess) -> bool:
    return (await process.http.get("/readyz")).status_code == 200


async def test_a_job_is_sent_although_every_notification_is_lost(
    server: Server, tmp_path: Path
) -> None:
    async with receiving() as provider, running_cluster(server.url, tmp_path, provider) as cluster:
        await eventually(lambda: cut_listeners(server.url))
        await cluster.submit("not notified")

        async with asyncio.timeout(10):
            await eventually(lambda: has_tasks(cluster, 1))

    assert len(cluster.tasks) == 1


async def cut_listeners(url: str) -> bool:
    """Cut every connection that listens; True if there was one."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        cursor = await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%%'",
            {},
        )
        return len(await cursor.fetchall()) > 0
