"""`belfry serve`: reads the settings and serves until a signal."""

import asyncio
import gc
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog
import uvloop
from msgspec.structs import replace

from service.app import create_app, running
from service.context import AppContext
from service.domain.primitives.errors import StartError
from service.providers import providers_with_callbacks
from service.runtime.http_server.file_limits import raise_open_file_limit
from service.runtime.http_server.server import Server, connection_limits
from service.runtime.observability import logs
from service.runtime.settings import Role, Settings, from_env
from service.runtime.wakeups import Wakeups

log = structlog.get_logger()


def main(role: Role = Role.ALL, environ: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal; 1 when the settings or the database do not allow a start."""
    logs.configure()
    try:
        settings = with_keys(from_env(environ, role))
        raise_open_file_limit()
        return uvloop.run(serve(settings))
    except StartError as exc:
        print(f"Belfry cannot start.\n{exc}", file=sys.stderr)  # noqa: T201 - for a person
        return 1


async def serve(settings: Settings) -> int:
    """Serve until told to stop, then finish what is under way."""
    _warn(settings)
    wakeups = Wakeups()
    async with running(settings, wakeups) as context:
        limits = connection_limits(settings.max_posts)
        server = Server(create_app(context), wakeups, settings.host, settings.port, limits)
        log.info("service.started", host=settings.host, port=settings.port, role=settings.role)
        _spare_the_collector()
        watch = asyncio.create_task(_stop_when_broken(context, server))
        await server.run_until_stopped()
        broken = watch.done()
        watch.cancel()
    log.info("service.stopped")
    return 0 if server.started and not broken else 1


def _spare_the_collector() -> None:
    """Leave what is there for good out of collections: each would halt all work for 60 ms."""
    gc.collect()
    gc.freeze()


def _warn(settings: Settings) -> None:
    """Jobs that wait for calls to a private address would wait in vain, until they expire."""
    deaf = [name for name in providers_with_callbacks() if settings.accounts[name].is_remote]
    if deaf and settings.has_private_public_url:
        log.warning(
            "service.warned",
            message="BELFRY_PUBLIC_URL is a private address: its providers cannot call back",
            public_url=settings.public_url,
            providers=deaf,
        )


async def _stop_when_broken(context: AppContext, server: Server) -> None:
    """After a disk error only a new start can tell what was written; a supervisor does that."""
    await context.store.broken()
    log.critical("store.broken")
    server.stop()


def with_keys(settings: Settings) -> Settings:
    """On SQLite, make the secret keys that are not set and keep them beside the database."""
    if settings.keys_file is None:
        return settings
    path = Path(settings.keys_file)
    try:
        if not path.exists():
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(file, "w") as out:
                out.write(secrets.token_hex(32) + "\n")
        return replace(settings, secret_keys=tuple(path.read_text().split()))
    except OSError as exc:
        raise StartError(f"BELFRY_DATABASE_URL: cannot keep keys beside it ({exc})") from exc
