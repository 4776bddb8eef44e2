"""`belfry demo`: the whole story on free loopback ports, shown live, cleaned up at the end."""

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

PATIENCE_SECONDS = 60


def run(*, once: bool) -> int:
    """Show it; 0 if every job ended as it should."""
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="belfry-demo-") as folder,
        contextlib.suppress(KeyboardInterrupt),
    ):
        return asyncio.run(_show(Path(folder), console, once=once))
    console.print("Stopped, and cleaned up.")
    return 0


async def _show(folder: Path, console: Console, *, once: bool) -> int:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    logs.configure(logging.INFO, (folder / "service.log").open("wb"))
    key = f"demo-{secrets.token_hex(14)}"
    subscriber = DemoReceiver()
    async with (
        _serving(create_sandbox(pace=0.6)) as sandbox,
        _serving(subscriber.app) as receiver,
        _service(folder, sandbox, key) as url,
        httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as client,
    ):
        story = DemoRun(client, sandbox, subscriber)
        await story.begin(f"{receiver}/hook")
        with Live(story.table(), console=console, refresh_per_second=8) as live:
            await _watch(story, live)
        errors = await story.errors()
        for error in errors:
            console.print(f"[red]{error}[/red]")
        console.print(story.verdict(errors))
        if not once:
            _say_where(console, url, sandbox, key, folder)
            await asyncio.Event().wait()
    return 1 if errors else 0


async def _watch(story: DemoRun, live: Live) -> None:
    """Follow the story until every bell has rung, or patience ends."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not story.over:
                await story.look()
                live.update(story.table())
                await asyncio.sleep(0.1)


def _say_where(console: Console, url: str, sandbox: str, key: str, folder: Path) -> None:
    console.print(
        f"""
  service   {url}   ({url}/docs)
  sandbox   {sandbox}   (its page lists the magic prompts)
  log       {folder}/service.log

Try one yourself, in another terminal:

  export BELFRY_URL={url} BELFRY_KEY={key}
  curl -s $BELFRY_URL/v1/jobs -H "Authorization: Bearer $BELFRY_KEY" \\
    -H "Content-Type: application/json" -d '{{"provider": "useapi",
    "operation": "frames.create", "input": {{"text_prompt": "a lighthouse"}}}}'
  .venv/bin/belfry listen

Ctrl-C ends it and cleans up.""",
        soft_wrap=True,
        highlight=False,
    )


@contextlib.asynccontextmanager
async def _service(folder: Path, sandbox: str, key: str) -> AsyncIterator[str]:
    """The real service with its own settings, on SQLite in *folder*."""
    wakeups, port = Wakeups(), _free_port()
    url = f"http://127.0.0.1:{port}"
    settings = from_env(
        {
            **settings_for(sandbox),
            "BELFRY_DATABASE_URL": f"sqlite:///{folder}/belfry.db",
            "BELFRY_PUBLIC_URL": url,
            "BELFRY_SECRET_KEYS": secrets.token_hex(32),
            "BELFRY_ADMIN_KEY": key,
            "BELFRY_ALLOW_TARGETS": "127.0.0.0/8",
            "PORT": str(port),
        }
    )
    async with running(settings, wakeups) as context:
        server = _Quiet(create_app(context), wakeups, "127.0.0.1", port)
        async with _run(server):
            yield url


@contextlib.asynccontextmanager
async def _serving(app: ASGIApp) -> AsyncIterator[str]:
    server = _Quiet(app, Wakeups(), "127.0.0.1", 0)
    server.config.lifespan = "auto"
    server.config.timeout_graceful_shutdown = 1
    async with _run(server):
        yield server.url


class _Quiet(Server):
    """One of several servers in one process: Ctrl-C is for the demo, not for each of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _run(server: Server) -> AsyncIterator[None]:
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
