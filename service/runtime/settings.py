"""Settings: read once from the environment, every fault named at once."""

import ipaddress
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from service.domain.primitives.errors import FieldError, StartError
from service.domain.security.address_policy import Network

MIN_KEY: Final = 32
MAX_POSTS: Final = 512
WORKER_PORT: Final = 8081
"""Beside a web process on one machine: where a worker shows its health."""
_MAX_PORT: Final = 65535
_MAX_DAYS: Final = 36_500
_MAX_SLOTS: Final = 10_000
T = TypeVar("T")
D = TypeVar("D")


class SettingsError(StartError):
    """The environment has *errors*, one line each in the message."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("\n".join(f"{error.path}: {error.message}" for error in errors))
        self.errors = errors


class ProviderAccount(msgspec.Struct, frozen=True, kw_only=True):
    """How we stand with one provider: no *token*, no jobs for it."""

    base_url: str
    token: str | None
    max_jobs: int

    def __repr__(self) -> str:
        return f"Account({self.base_url!r}, max_jobs={self.max_jobs})"

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.base_url).hostname in ("127.0.0.1", "localhost", "::1")

    @property
    def is_remote(self) -> bool:
        """Whether it is set up, and not with a provider emulated on this machine."""
        return self.token is not None and not self.is_loopback


class Role(StrEnum):
    """What one process does: everything, or on PostgreSQL only a part."""

    ALL = "all"
    WEB = "web"
    """Serves the API, the streams and the callbacks."""
    WORKER = "worker"
    """Sends jobs and deliveries, and watches deadlines."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process; *secret_keys* and *admin_key* may still have to be made."""

    role: Role = Role.ALL
    database_url: str = "sqlite:///belfry.db"
    public_url: str | None = None
    secret_keys: tuple[str, ...] = ()
    admin_key: str | None = None
    allow_targets: tuple[Network, ...] = ()
    reconcile: bool = True
    retention_days: int = 30
    max_posts: int = MAX_POSTS
    """Webhooks under way at once in this process."""
    max_streams: int = 1000
    """Streams that one tenant may have open at this process."""
    host: str = "127.0.0.1"
    port: int = 8080
    accounts: dict[str, ProviderAccount] = {}

    def __repr__(self) -> str:
        return f"Settings({self.host}:{self.port}, {sorted(self.accounts)})"

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite:")

    @property
    def callback_base(self) -> str:
        """Where providers reach us; without a public URL only an emulated one can."""
        return self.public_url or self.local_url

    @property
    def local_url(self) -> str:
        """Where this machine reaches the service."""
        return f"http://{_literal(self.host)}:{self.port}"

    @property
    def keys_file(self) -> str | None:
        """Where the secret keys are kept that were made because none are set."""
        if self.secret_keys or not self.is_sqlite:
            return None
        return self.database_url.removeprefix("sqlite:///") + ".keys"

    @property
    def has_private_public_url(self) -> bool:
        """Whether the public URL names a private address; names are not looked up for it."""
        return _is_private(urlsplit(self.public_url or "").hostname or "")

    def reachable_from(self, provider: str) -> bool:
        """Whether *provider* can call back: by a public URL, or because it runs beside us."""
        return self.public_url is not None or self.accounts[provider].is_loopback


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _literal(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


_ACCOUNTS: Final = {
    "useapi": ("USEAPI_TOKEN", "USEAPI", "https://api.useapi.net/v1/runwayml", 10),
    "runware": ("RUNWARE_API_KEY", "RUNWARE", "https://api.runware.ai/v1", 100),
    "runway_ai": ("RUNWAY_AI_API_KEY", "RUNWAY_AI", "https://api.runway-ai.ai", 8),
}
"""Token variable, prefix, base URL, and how many jobs may be under way at the account."""


def names_of(provider: str) -> tuple[str, str]:
    """Name the settings that hold the credential and the base URL of *provider*."""
    token, prefix, *_ = _ACCOUNTS[provider]
    return token, f"{prefix}_BASE_URL"


def from_env(environ: Mapping[str, str], role: Role = Role.ALL) -> Settings:
    """Read all settings; SettingsError names every fault at once."""
    reader = _Reader(environ)
    settings = Settings(
        role=role,
        database_url=reader.read("BELFRY_DATABASE_URL", _database_url, Settings().database_url),
        public_url=reader.read("BELFRY_PUBLIC_URL", _url, None),
        secret_keys=reader.read("BELFRY_SECRET_KEYS", _keys, ()),
        admin_key=reader.read("BELFRY_ADMIN_KEY", _key, None),
        allow_targets=reader.read("BELFRY_ALLOW_TARGETS", _networks, ()),
        reconcile=reader.read("BELFRY_RECONCILE", _switch, Settings().reconcile),
        retention_days=reader.read("BELFRY_RETENTION_DAYS", _days, Settings().retention_days),
        max_posts=reader.read("BELFRY_MAX_POSTS", _slots, Settings().max_posts),
        max_streams=reader.read("BELFRY_MAX_STREAMS", _slots, Settings().max_streams),
        host=reader.read("HOST", str, Settings().host),
        port=reader.read("PORT", _port, WORKER_PORT if role is Role.WORKER else Settings().port),
        accounts={name: _account(reader, *row) for name, row in _ACCOUNTS.items()},
    )
    if not settings.is_sqlite and not settings.secret_keys:
        reader.error("BELFRY_SECRET_KEYS", "must be set with PostgreSQL: all processes share it")
    if settings.is_sqlite and role is not Role.ALL:
        reader.error("--role", "SQLite serves one process, which does everything; leave it out")
    if reader.errors:
        raise SettingsError(reader.errors)
    return settings


def _account(
    reader: "_Reader", token: str, prefix: str, base_url: str, slots: int
) -> ProviderAccount:
    return ProviderAccount(
        token=reader.read(token, _token, None),
        base_url=reader.read(f"{prefix}_BASE_URL", _url, base_url),
        max_jobs=reader.read(f"{prefix}_MAX_JOBS", _slots, slots),
    )


class _Reader:
    """Collects faults instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.errors: list[FieldError] = []

    def error(self, name: str, message: str) -> None:
        self.errors.append(FieldError(name, message))

    def read(self, name: str, parse: Callable[[str], T], default: D) -> T | D:
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            self.error(name, str(exc))
            return default


def _database_url(text: str) -> str:
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return text
    if text.startswith(("postgresql://", "postgres://")):
        _refuse_raw_password(text)
        return text
    raise ValueError("must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE")


def _refuse_raw_password(text: str) -> None:
    """A password that ends too early would stand in the driver's error as a host or a database."""
    rule = "percent-encode what is not a letter or a digit in user and password"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(rule) from None
    if parts.netloc.count("@") > 1 or "@" in parts.path or parts.fragment:
        raise ValueError(rule)


def _url(text: str) -> str:
    parts = urlsplit(text)
    _ = parts.port  # a ValueError of its own where it is no number
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError("must be an http or https URL without a user, as https://belfry.example")
    if parts.query or parts.fragment:
        raise ValueError("must have no query and no fragment")
    return text.rstrip("/")


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(_key(part.strip()) for part in text.split(",") if part.strip())
    return keys or (_key(""),)


def _key(text: str) -> str:
    if len(text) < MIN_KEY or not text.isascii() or not text.isprintable():
        raise ValueError(f"each key needs {MIN_KEY} characters or more: openssl rand -hex 32")
    return text


def _token(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces")
    return text


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as exc:
        raise ValueError(f"must be networks as 10.1.0.0/16, separated by commas ({exc})") from exc


def _days(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_DAYS:
        return int(text)
    raise ValueError(f"must be a number of days from 1 to {_MAX_DAYS}")


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("must be on or off")
    return text == "on"


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= _MAX_PORT:
        return int(text)
    raise ValueError("must be a number from 0 to 65535")


def _slots(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_SLOTS:
        return int(text)
    raise ValueError("must be a number from 1 to 10000")
