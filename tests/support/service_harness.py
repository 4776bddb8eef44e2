"""Runs the service and the sandbox on real sockets, in this process or in another one."""

import asyncio
import os
import resource
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace
from starlette.applications import Starlette

from service.app import create_app, running
from service.context import AppContext
from service.runtime.clock import Clock, now
from service.runtime.http_server.server import Server
from service.runtime.open_streams import HEARTBEAT_SECONDS
from service.runtime.settings import from_env
from service.runtime.wakeups import Wakeups
from service.sandbox import create_sandbox
from tests.support.watchdog import unwatched, watched

ADMIN_KEY = "admin-key-of-the-tests-0123456789abcdef"
VENDOR_KEY = "webhook-secret-of-the-tests-0123456789abcdef"
SIGNING_KEY = "signing-key-of-the-tests-0123456789abcdef"
PATIENCE_SECONDS = 20.0
PACE = 0.02
FREE_PORTS = range(10_000, 32_768)
"""Linux assigns ephemeral ports from 32,768 upwards."""
ENDS = ("succeeded", "failed", "canceled", "expired")
Json = dict[str, Any]


def plain_client(url: str = "", **headers: str) -> httpx.AsyncClient:
    """A client without TLS: loading certificates would take most of the time of a test."""
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(
        base_url=url, headers=headers, verify=no_certificates, timeout=PATIENCE_SECONDS
    )


def free_port() -> int:
    """An unused port outside the ephemeral range.

    The system could assign an ephemeral port to a test that runs at the same time.
    """
    while True:
        port = secrets.choice(FREE_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def environ(database_url: str, port: int, **more: str) -> dict[str, str]:
    """The settings of a service under test; its providers are unreachable."""
    unreachable = f"http://127.0.0.1:{free_port()}"
    return {
        "BELFRY_DATABASE_URL": database_url,
        "BELFRY_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "BELFRY_SECRET_KEYS": SIGNING_KEY,
        "BELFRY_ADMIN_KEY": ADMIN_KEY,
        "BELFRY_ALLOW_TARGETS": "127.0.0.0/8",
        "PORT": str(port),
        **providers_at(unreachable),
        **more,
    }


def coverage_environ() -> dict[str, str]:
    """What a process needs to take part in a measurement of coverage; nothing without one."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def providers_at(url: str) -> dict[str, str]:
    """Settings with the accounts of all providers at *url*."""
    return {
        "USEAPI_TOKEN": "user:1-sandbox",
        "USEAPI_BASE_URL": f"{url}/v1/runwayml",
        "RUNWARE_API_KEY": "sandbox",
        "RUNWARE_BASE_URL": f"{url}/v1",
        "RUNWAY_AI_API_KEY": "sandbox",
        "RUNWAY_AI_BASE_URL": url,
        "USEAPI_SERVICES_BASE_URL": url,
        "FAL_KEY": "sandbox",
        "FAL_BASE_URL": f"{url}/fal",
        "FAL_KEYS_URL": f"{url}/fal/.well-known/jwks.json",
        "IDEOGRAM_API_KEY": "sandbox",
        "IDEOGRAM_BASE_URL": f"{url}/ideogram",
        "IDEOGRAM_KEYS_URL": f"{url}/ideogram/v1/.well-known/jwks.json",
        "LEONARDO_API_KEY": "sandbox",
        "LEONARDO_BASE_URL": f"{url}/leonardo/v1",
        "LEONARDO_WEBHOOK_SECRET": VENDOR_KEY,
        "RUNWAYML_API_SECRET": "sandbox",
        "RUNWAYML_BASE_URL": f"{url}/runway/v1",
        "REPLICATE_API_TOKEN": "r8_sandbox",
        "REPLICATE_BASE_URL": f"{url}/replicate/v1",
        "LUMA_API_KEY": "luma-sandbox",
        "LUMA_BASE_URL": f"{url}/dream-machine/v1",
    }


async def eventually(look: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_SECONDS) -> Any:
    """Call *look* until its result is true, and return the result; TimeoutError after *seconds*."""
    async with asyncio.timeout(seconds):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.01)


class Client:
    """An API client."""

    def __init__(self, url: str, key: str = ADMIN_KEY) -> None:
        self.url = url
        self.http = plain_client(url, authorization=f"Bearer {key}")

    async def get(self, path: str, **query: str | int) -> Json:
        response = await self.http.get(path, params=query)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def post(self, path: str, body: Any = None, **headers: str) -> Json:
        response = await self.http.post(path, json=body, headers=headers)
        assert response.status_code in (200, 201, 202), response.text
        return dict(response.json())

    async def submit(self, provider: str, operation: str, given: Json, **more: Any) -> Json:
        request = {"provider": provider, "operation": operation, "input": given, **more}
        return await self.post("/v1/jobs", request)

    async def subscribe(self, url: str, *event_types: str, **more: Any) -> Json:
        return await self.post(
            "/v1/subscriptions", {"url": url, "event_types": list(event_types), **more}
        )

    async def job(self, job_id: str) -> Json:
        return await self.get(f"/v1/jobs/{job_id}")

    async def ended(self, job_id: str) -> Json:
        async def look() -> Json | None:
            job = await self.job(job_id)
            return job if job["status"] in ENDS else None

        return dict(await eventually(look))

    async def reached(self, job_id: str, *statuses: str) -> Json:
        async def look() -> Json | None:
            job = await self.job(job_id)
            return job if job["status"] in statuses else None

        return dict(await eventually(look))

    async def unready(self) -> httpx.Response:
        """Wait until `/readyz` fails; a success is cached for two seconds."""

        async def look() -> httpx.Response | None:
            answer = await self.http.get("/readyz")
            return None if answer.is_success else answer

        answer = await eventually(look)
        assert isinstance(answer, httpx.Response)
        return answer

    async def deliveries(self, **query: str) -> list[Json]:
        return list((await self.get("/v1/deliveries", **query))["data"])

    async def another_key(self, *scopes: str, tenant: str = "default") -> str:
        created = await self.post("/v1/keys", {"tenant": tenant, "scopes": list(scopes)})
        return str(created["key"])


class Service(Client):
    """A service in this process, with access to its context and settings."""

    def __init__(self, url: str, context: AppContext, settings: Mapping[str, str]) -> None:
        super().__init__(url)
        self.context, self.settings = context, settings

    async def ended(self, job_id: str) -> Json:
        """Wait for the end of a job without asking again and again, which takes much CPU time."""
        wait = {"prefer": f"wait={int(PATIENCE_SECONDS) - 2}"}
        response = await self.http.get(f"/v1/jobs/{job_id}", headers=wait)
        assert response.status_code == 200, response.text
        job = dict(response.json())
        if job["status"] not in ENDS:
            raise TimeoutError(f"the job is still {job['status']}")
        return job

    def callback_url(self, provider: str, ref: str) -> str:
        """The callback URL that was sent to the provider for *ref*."""
        token = self.context.signer.sign(provider, ref, self.context.clock())
        return f"{self.url}/callbacks/{provider}/{ref}?t={token}"

    async def call_back(self, provider: str, ref: str, body: Any) -> int:
        """POST a callback as a provider does, without an API key; *body* is JSON or raw bytes."""
        url = self.callback_url(provider, ref)
        content = body if isinstance(body, bytes) else None
        sent = {"content": content} if content is not None else {"json": body}
        async with plain_client() as client:
            return (await client.post(url, **sent)).status_code


@asynccontextmanager
async def running_service(
    database_url: str,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    clock: Clock = now,
    /,
    **env: str,
) -> AsyncIterator[Service]:
    """Run a service in this process; it is stopped as on SIGTERM."""
    port = free_port()
    settings, wakeups = environ(database_url, port, **env), Wakeups()
    async with AsyncExitStack() as stack:
        with unwatched():
            built = await stack.enter_async_context(running(from_env(settings), wakeups, clock))
            context = replace(built, heartbeat_seconds=heartbeat_seconds)
            server = Server(create_app(context), wakeups, "127.0.0.1", port)
            task = asyncio.create_task(server.run_until_stopped())
            service = Service(f"http://127.0.0.1:{port}", context, settings)
            await server.ready.wait()
        try:
            with watched():
                yield service
        finally:
            await service.http.aclose()
            server.stop()
            await task


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """Serve an application on a free port; yields its URL."""
    server = Server(app, Wakeups(), "127.0.0.1", 0)
    server.config.lifespan = "on"
    server.config.timeout_graceful_shutdown = 1
    task = asyncio.create_task(server.run_until_stopped())
    try:
        await server.ready.wait()
        yield server.url
    finally:
        server.stop()
        await task


class SandboxedService(Service):
    """A service with the sandbox providers."""

    sandbox: str = ""

    async def ledger(self) -> Json:
        """The requests to the emulated providers and their effects."""
        async with plain_client() as client:
            return dict((await client.get(f"{self.sandbox}/ledger")).json())


@asynccontextmanager
async def sandboxed_service(
    database_url: str, clock: Clock = now, /, **env: str
) -> AsyncIterator[SandboxedService]:
    async with (
        serving(create_sandbox(pace=PACE)) as sandbox,
        running_service(
            database_url, HEARTBEAT_SECONDS, clock, **{**providers_at(sandbox), **env}
        ) as service,
    ):
        sandboxed = SandboxedService(service.url, service.context, service.settings)
        sandboxed.sandbox = sandbox
        try:
            yield sandboxed
        finally:
            await sandboxed.http.aclose()


class ServiceProcess(Client):
    """The real command in a separate process, which can be killed and restarted."""

    def __init__(self, database_url: str, folder: Path, role: str = "all", **env: str) -> None:
        self.port, self.role = free_port(), role
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.log = folder / f"{role}-{self.port}.log"
        self._env = environ(database_url, self.port, **env)
        self._limit: list[str] = []
        self._process: asyncio.subprocess.Process | None = None

    def set_environment(self, **env: str) -> None:
        """Change the settings of the next start."""
        self._env |= env

    def limit_open_files(self, soft: int, hard: int) -> None:
        """Limit the open files of the next start; a shell sets the limit."""
        script = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"'
        self._limit = ["sh", "-c", script, "sh"]

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._limit,
                sys.executable,
                "-m",
                "service",
                "--role",
                self.role,
                env={**self._env, **coverage_environ(), "PATH": os.environ["PATH"]},
                stdout=log,
                stderr=log,
            )
        await eventually(self._ready)

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def is_gone(self) -> bool:
        assert self._process is not None
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Wait until the process ends by itself; returns the exit status."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._process.wait()

    @property
    def resident_bytes(self) -> int:
        """The resident memory (VmRSS) of the process."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def allow_files(self, more: int | None) -> None:
        """Let the running process open *more* further files; None: up to the hard limit."""
        assert self._process is not None
        pid = self._process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(
            pid, resource.RLIMIT_NOFILE, (hard if more is None else opened + more, hard)
        )

    async def kill(self) -> None:
        """Kill the process, so that it cannot shut down in order."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        return await self._end(signal.SIGTERM)

    async def _end(self, sig: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(sig)
        return await self._process.wait()

    async def close(self) -> None:
        await self.kill()
        await self.http.aclose()


@asynccontextmanager
async def a_process(
    database_url: str, folder: Path, role: str = "all", **env: str
) -> AsyncIterator[ServiceProcess]:
    process = ServiceProcess(database_url, folder, role, **env)
    try:
        await process.start()
        yield process
    finally:
        await process.close()
