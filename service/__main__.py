"""`python -m service`: reads the settings and serves."""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog
from msgspec.structs import replace

from service import logs
from service.app import create_app
from service.feed import Feed
from service.server import Server
from service.settings import Settings, SettingsError, from_env
from store.sqlite import StoreError

log = structlog.get_logger()


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal; 1 when the settings or the database do not allow a start."""
    logs.configure()
    try:
        settings = with_keys(from_env(environ))
    except SettingsError as exc:
        print(f"Belfry cannot start:\n{exc}", file=sys.stderr)  # noqa: T201 - for a person
        return 1
    feed = Feed()
    server = Server(create_app(settings, feed), feed, host=settings.host, port=settings.port)
    server.run()
    return 0 if server.started else 1


def with_keys(settings: Settings) -> Settings:
    """On SQLite, make the secret keys that are not set and keep them beside the database."""
    if settings.secret_keys or not settings.is_sqlite:
        return settings
    path = Path(settings.database_url.removeprefix("sqlite:///") + ".keys")
    if not path.exists():
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(secrets.token_hex(32) + "\n")
    return replace(settings, secret_keys=tuple(path.read_text().split()))


if __name__ == "__main__":
    sys.exit(main())
