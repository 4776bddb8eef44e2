"""The sandbox as a whole: its overview page, ledger and shutdown; helpers for other tests."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from socket import socket
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox import Tokens, UseapiSetup, create_sandbox
from service.sandbox.directives import Directives
from service.sandbox.ledger import LedgerTask, TaskLedger
from service.sandbox.sender import forge_signature, is_http_url
from tests.support.paths import ROOT

TIMEOUT_SECONDS = 10.0
PACE = 0.02


class Server(uvicorn.Server):
    """A real server on a free port; *ready* is set once it accepts connections."""

    def __init__(self, app: Starlette, grace_seconds: int | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                port=0,
                log_level="critical",
                ws="none",
                timeout_graceful_shutdown=grace_seconds,
            )
        )
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"


@asynccontextmanager
async def serving(app: Starlette, grace_seconds: int | None = None) -> AsyncIterator[str]:
    server = Server(app, grace_seconds)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        await server.ready.wait()
        try:
            yield server.url
        finally:
            server.should_exit = True


class Inbox:
    """A receiver of callbacks: keeps bodies and queries by path, answers with set statuses."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: dict[str, list[Any]] = defaultdict(list)
        self.queries: dict[str, list[str]] = defaultdict(list)
        self.answers: dict[str, list[int]] = defaultdict(list)
        self._received = asyncio.Condition()

    async def receive(self, request: Request) -> Response:
        ref, body = request.path_params["ref"], await request.json()
        async with self._received:
            self.bodies[ref].append(body)
            self.queries[ref].append(request.url.query)
            self._received.notify_all()
        answers = self.answers[ref]
        return Response(status_code=answers.pop(0) if answers else 204)

    async def wait(self, ref: str, count: int) -> list[Any]:
        """Wait until *count* callbacks have arrived for *ref*; return their bodies."""
        async with asyncio.timeout(TIMEOUT_SECONDS), self._received:
            await self._received.wait_for(lambda: len(self.bodies[ref]) >= count)
        return self.bodies[ref]

    def address(self, ref: str) -> str:
        return f"{self.url}/{ref}?t=time.signature-of-the-callback&keep=1"


class World(httpx.AsyncClient):
    """A client of the sandbox, with the inbox that receives its callbacks."""

    def __init__(self, url: str, inbox: Inbox, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        super().__init__(base_url=url, headers=headers, trust_env=False, timeout=TIMEOUT_SECONDS)
        self.url = url
        self.inbox = inbox

    async def entries(self, ref: str) -> list[dict[str, Any]]:
        """Return the ledger's entries whose reference or prompt is *ref*."""
        tasks = (await self.get("/ledger")).json()["tasks"]
        return [task for task in tasks if ref in (task["ref"], task["prompt"])]

    async def ended(self, ref: str, callbacks: int = 0) -> dict[str, Any]:
        """Wait until the task of *ref* has ended and made at least *callbacks* attempts."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                for entry in await self.entries(ref):
                    if entry["ended"] and len(entry["callbacks"]) >= callbacks:
                        return entry
                await asyncio.sleep(0.01)


@asynccontextmanager
async def receiving() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    receiver = Starlette(routes=[Route("/{ref}", inbox.receive, methods=["POST"])])
    async with serving(receiver) as inbox.url:
        yield inbox


@asynccontextmanager
async def sandbox_world(
    token: str, pace: float = PACE, useapi: UseapiSetup | None = None
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        inbox = await stack.enter_async_context(receiving())
        sandbox = create_sandbox(pace=pace, useapi=useapi)
        url = await stack.enter_async_context(serving(sandbox))
        yield await stack.enter_async_context(World(url, inbox, token))


def a_ref() -> str:
    return str(uuid4())


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world("user:1-sandbox") as client:
        yield client


@pytest.mark.anyio
async def test_the_overview_page_lists_base_urls_tokens_and_directives(world: World) -> None:
    page = (await world.get("/")).json()

    assert page["providers"]["useapi"]["base_url"] == f"{world.url}/v1/runwayml"
    assert page["providers"]["runware"]["token"] == "sandbox"  # noqa: S105 - not a secret
    assert "[lost]" in page["magic_words"]


@pytest.mark.anyio
async def test_an_unknown_path_returns_a_json_error(world: World) -> None:
    answer = await world.get("/v1/runwayml/nothing")

    assert answer.status_code == 404
    assert answer.json()["code"] == 404


@pytest.mark.anyio
async def test_custom_tokens_replace_the_defaults() -> None:
    app = create_sandbox(Tokens(useapi="user:7-mine"), pace=PACE)
    async with serving(app) as url, World(url, Inbox(), "user:7-mine") as client:
        assert (await client.get("/v1/runwayml/scheduler/")).status_code == 200
        client.headers["authorization"] = "Bearer user:1-sandbox"
        assert (await client.get("/v1/runwayml/scheduler/")).status_code == 401


@pytest.mark.anyio
async def test_requests_are_counted_by_route(world: World) -> None:
    await world.get("/v1/runwayml/tasks/unknown")
    await world.get("/v1/runwayml/tasks/unknown")

    requests = (await world.get("/ledger")).json()["requests"]

    assert requests["GET /v1/runwayml/tasks/{task_id}"] == 2


@pytest.mark.anyio
async def test_a_long_task_does_not_delay_the_shutdown() -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS), sandbox_world("user:1-sandbox", pace=1) as world:
        body = {"text_prompt": "[slow 600]", "replyUrl": world.inbox.address("slow")}
        assert (await world.post("/v1/runwayml/frames/create", json=body)).is_success
        await world.inbox.wait("slow", 1)


@pytest.mark.anyio
async def test_a_hanging_submit_is_accepted_and_ends_with_the_server() -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS), asyncio.TaskGroup() as group:
        async with serving(create_sandbox(pace=PACE), grace_seconds=1) as url:
            client = World(url, Inbox(), "user:1-sandbox")
            hanging = group.create_task(_succeeds(client))
            await client.ended("[hang]")
            assert not hanging.done()

        assert not await hanging
        await client.aclose()


async def _succeeds(client: World) -> bool:
    try:
        answer = await client.post("/v1/runwayml/frames/create", json={"text_prompt": "[hang]"})
    except httpx.HTTPError:
        return False
    return answer.is_success


def test_only_the_newest_tasks_are_kept() -> None:
    tasks = TaskLedger(limit=2)

    for task_id in ("one", "two", "three"):
        tasks.add(a_task(task_id))

    assert [task.id for task in tasks.newest("useapi")] == ["three", "two"]
    assert tasks.find("useapi", "one") is None


def a_task(task_id: str) -> LedgerTask:
    return LedgerTask(
        provider="useapi",
        id=task_id,
        operation="frames.create",
        prompt="",
        at=0,
        directives=Directives(),
        request={},
    )


@pytest.mark.parametrize(
    ("url", "forged"),
    [
        ("http://a/b?t=1.abcdefgh", "http://a/b?t=1.abcdeAgh"),
        ("http://a/b?x=1&t=AAAA&y=2", "http://a/b?x=1&t=AAAB&y=2"),
        ("http://a/b", "http://a/b?t=forgAd"),
    ],
)
def test_a_forged_url_differs_only_in_its_signature(url: str, forged: str) -> None:
    assert forge_signature(url) == forged


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "http://", "//a/b", "http://a:99999/", "http://xn--/", 7, None]
)
def test_an_invalid_reply_url_is_detected(url: object) -> None:
    assert not is_http_url(url)


def test_the_sandbox_imports_no_other_service_code() -> None:
    allowed = (
        "service.sandbox",
        "service.domain.primitives.timestamps",
        "service.domain.primitives.ids",
    )

    for path in (ROOT / "service/sandbox").rglob("*.py"):
        imports = [line for line in path.read_text().splitlines() if "from service" in line]
        assert all(line.split()[1].startswith(allowed) for line in imports), path
