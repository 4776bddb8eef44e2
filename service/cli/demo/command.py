"""`belfry demo`: runs all servers on free local ports, shows the jobs live and cleans up."""

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
from rich.console import Console
from rich.live import Live
from starlette.types import ASGIApp

from service.app import create_app, running
from service.cli.demo.cases import DemoRun
from service.cli.demo.receiver import DemoReceiver
from service.cli.sandbox import settings_for
from service.runtime.http_server.server import Server
from service.runtime.observability import logs
from service.runtime.settings import from_env
from service.runtime.wakeups import Wakeups
from service.sandbox import create_sandbox

TIMEOUT_SECONDS = 60


def run(*, once: bool) -> int:
    """Run the demo; return 0 if every job ended as expected, else 1."""
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="belfry-demo-") as folder,
        contextlib.suppress(KeyboardInterrupt),
    ):
        return asyncio.run(_run_demo(Path(folder), console, once=once))
    console.print("Stopped and cleaned up.")
    return 0


async def _run_demo(folder: Path, console: Console, *, once: bool) -> int:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    logs.configure(logging.INFO, (folder / "service.log").open("wb"))
    key = f"demo-{secrets.token_hex(14)}"
    receiver = DemoReceiver()
    async with (
        _serve_app(create_sandbox(pace=0.6)) as sandbox_url,
        _serve_app(receiver.app) as receiver_url,
        _serve_service(folder, sandbox_url, key) as url,
        httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as client,
    ):
        demo = DemoRun(client, sandbox_url, receiver)
        await demo.submit(f"{receiver_url}/hook")
        with Live(demo.table(), console=console, refresh_per_second=8) as live:
            await _show_until_finished(demo, live)
        errors = await demo.find_errors()
        for error in errors:
            console.print(f"[red]{error}[/red]")
        console.print(demo.summary(errors))
        if not once:
            _print_addresses(console, url, demo, key, folder)
            await asyncio.Event().wait()
    return 1 if errors else 0


async def _show_until_finished(demo: DemoRun, live: Live) -> None:
    """Update the table until all jobs have ended, at most TIMEOUT_SECONDS."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not demo.finished:
                await demo.refresh()
                live.update(demo.table())
                await asyncio.sleep(0.1)


def _print_addresses(console: Console, url: str, demo: DemoRun, key: str, folder: Path) -> None:
    console.print(
        f"""
  service   {url}   ({url}/docs)
  sandbox   {demo.sandbox_url}   (lists the prompt directives)
  artifact  {demo.artifact_url()}
  log       {folder}/service.log

Submit a job yourself in another terminal:

  export BELFRY_URL={url} BELFRY_KEY={key}
  curl -s $BELFRY_URL/v1/jobs -H "Authorization: Bearer $BELFRY_KEY" \\
    -H "Content-Type: application/json" -d '{{"provider": "useapi",
    "operation": "frames.create", "input": {{"text_prompt": "a lighthouse"}}}}'
  .venv/bin/belfry listen

Press Ctrl-C to stop the demo and delete its files.""",
        soft_wrap=True,
        highlight=False,
    )


@contextlib.asynccontextmanager
async def _serve_service(folder: Path, sandbox_url: str, key: str) -> AsyncIterator[str]:
    """Run the service on a free port with a SQLite store in *folder*; yield its URL."""
    wakeups, port = Wakeups(), _free_port()
    url = f"http://127.0.0.1:{port}"
    settings = from_env(
        {
            **settings_for(sandbox_url),
            "BELFRY_DATABASE_URL": f"sqlite:///{folder}/belfry.db",
            "BELFRY_PUBLIC_URL": url,
            "BELFRY_SECRET_KEYS": secrets.token_hex(32),
            "BELFRY_ADMIN_KEY": key,
            "BELFRY_ALLOW_TARGETS": "127.0.0.0/8",
            "PORT": str(port),
        }
    )
    async with running(settings, wakeups) as context:
        server = _EmbeddedServer(create_app(context), wakeups, "127.0.0.1", port)
        async with _run_server(server):
            yield url


@contextlib.asynccontextmanager
async def _serve_app(app: ASGIApp) -> AsyncIterator[str]:
    """Run *app* on a free port; yield its URL."""
    server = _EmbeddedServer(app, Wakeups(), "127.0.0.1", 0)
    server.config.lifespan = "auto"
    server.config.timeout_graceful_shutdown = 1
    async with _run_server(server):
        yield server.url


class _EmbeddedServer(Server):
    """One of several servers in a process; it leaves Ctrl-C to the demo."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _run_server(server: Server) -> AsyncIterator[None]:
    task = asyncio.create_task(server.run_until_stopped())
    await server.ready.wait()
    try:
        yield
    finally:
        server.stop()
        await task


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
