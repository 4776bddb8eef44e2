"""`belfry serve`: reads the settings and runs the service until a signal."""

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
    """Run the service until a signal; return 1 if it cannot start."""
    logs.configure()
    try:
        settings = load_keys(from_env(environ, role))
        raise_open_file_limit()
        return uvloop.run(serve(settings))
    except StartError as exc:
        print(f"Belfry cannot start.\n{exc}", file=sys.stderr)  # noqa: T201 - for the terminal
        return 1


async def serve(settings: Settings) -> int:
    """Run the service until it is stopped, then finish the work in progress.

    Return 1 if the server did not start or the store became unusable, else 0.
    """
    _warn_of_private_public_url(settings)
    wakeups = Wakeups()
    async with running(settings, wakeups) as context:
        limits = connection_limits(settings.max_posts)
        server = Server(create_app(context), wakeups, settings.host, settings.port, limits)
        log.info("service.started", host=settings.host, port=settings.port, role=settings.role)
        # Exclude the objects of the start from garbage collection: each full collection of them
        # would block the event loop for 60 ms.
        gc.collect()
        gc.freeze()
        watch = asyncio.create_task(_stop_when_broken(context, server))
        await server.run_until_stopped()
        broken = watch.done()
        watch.cancel()
    log.info("service.stopped")
    return 0 if server.started and not broken else 1


def _warn_of_private_public_url(settings: Settings) -> None:
    """Warn if remote providers cannot send callbacks; their jobs would wait until they expire."""
    remote = [name for name in providers_with_callbacks() if settings.accounts[name].is_remote]
    if remote and settings.has_private_public_url:
        log.warning(
            "service.warned",
            message="BELFRY_PUBLIC_URL is a private address: these providers cannot send callbacks",
            public_url=settings.public_url,
            providers=remote,
        )


async def _stop_when_broken(context: AppContext, server: Server) -> None:
    """Stop *server* after a disk error, for a process supervisor to restart the service.

    Only a restart can find out what the disk has stored.
    """
    await context.store.broken()
    log.critical("store.broken")
    server.stop()


def load_keys(settings: Settings) -> Settings:
    """On SQLite without BELFRY_SECRET_KEYS, read the keys from the file beside the database.

    Create the file with a new key if it does not exist. Raise StartError if that fails.
    """
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
        raise StartError(
            f"BELFRY_DATABASE_URL: cannot read or create the keys file beside it ({exc})"
        ) from exc
