"""Settings, read once from the environment; all invalid variables are reported together."""

import ipaddress
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from service.domain.primitives.errors import FieldError, StartError
from service.domain.security.address_policy import Network
from service.providers import registry
from service.providers.protocol import AccountSettings
from service.runtime.settings import parsers

MAX_POSTS: Final = 512
WORKER_PORT: Final = 8081
"""The default port of a worker's health endpoints, next to a web process on one machine."""
T = TypeVar("T")
D = TypeVar("D")


class SettingsError(StartError):
    """One or more settings are invalid; the message has one line for each of *errors*."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("\n".join(f"{error.path}: {error.message}" for error in errors))
        self.errors = errors


class ProviderAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Our account at one provider; without a *token* the provider takes no jobs.

    *max_jobs* is how many jobs may be in progress at once; where the provider tells the limit of an
    account, it counts only if it *is_max_jobs_set*. *keys_url* and *webhook_secret* verify
    the vendor's signatures, see `AccountSettings`.
    """

    base_url: str
    token: str | None
    max_jobs: int
    is_max_jobs_set: bool = False
    keys_url: str | None = None
    webhook_secret: str | None = None

    def __repr__(self) -> str:
        return f"Account({self.base_url!r}, max_jobs={self.max_jobs})"

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.base_url).hostname in ("127.0.0.1", "localhost", "::1")

    @property
    def is_remote(self) -> bool:
        """Whether the account has a token and its provider is not emulated on this machine."""
        return self.token is not None and not self.is_loopback


class Role(StrEnum):
    """The work of one process. SQLite allows only `all`."""

    ALL = "all"
    WEB = "web"
    """Serves the API, the streams and the callbacks."""
    WORKER = "worker"
    """Submits jobs, delivers webhooks and checks deadlines."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process.

    With SQLite, missing *secret_keys* are generated and stored in `keys_file`. Without *admin_key*,
    the first start creates an API key with the scope `admin` and prints it.
    """

    role: Role = Role.ALL
    database_url: str = "sqlite:///belfry.db"
    public_url: str | None = None
    secret_keys: tuple[str, ...] = ()
    """The oldest key first."""
    admin_key: str | None = None
    allow_targets: tuple[Network, ...] = ()
    reconcile: bool = True
    poll: frozenset[str] = frozenset()
    """Providers without callbacks that the operator allows to be polled."""
    moderation_warning: float | None = 0.1
    """The share of moderated jobs of an account above which the operator is warned; None: never."""
    retention_days: int = 30
    max_posts: int = MAX_POSTS
    """Webhook requests that this process may have in progress at once."""
    max_streams: int = 1000
    """Streams that one tenant may have open at this process."""
    host: str = "127.0.0.1"
    port: int = 8080
    accounts: dict[str, ProviderAccount] = {}
    """By the name of the provider."""

    def __repr__(self) -> str:
        return f"Settings({self.host}:{self.port}, {sorted(self.accounts)})"

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite:")

    @property
    def callback_base(self) -> str:
        """The start of callback URLs; without a public URL only emulated providers reach it."""
        return self.public_url or self.local_url

    @property
    def local_url(self) -> str:
        """The URL of the service for clients on this machine."""
        host = self.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = "127.0.0.1"
        elif ":" in host:
            host = f"[{host}]"
        return f"http://{host}:{self.port}"

    @property
    def keys_file(self) -> str | None:
        """The path of the generated secret keys; None where none are generated."""
        if self.secret_keys or not self.is_sqlite:
            return None
        return self.database_url.removeprefix("sqlite:///") + ".keys"

    @property
    def has_private_public_url(self) -> bool:
        """Whether the public URL has a private address or `localhost`; there is no DNS lookup."""
        host = urlsplit(self.public_url or "").hostname or ""
        try:
            return not ipaddress.ip_address(host).is_global
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    def reachable_from(self, provider: str) -> bool:
        """Whether *provider* can call back: there is a public URL, or it runs on this machine."""
        return self.public_url is not None or self.accounts[provider].is_loopback


def from_env(environ: Mapping[str, str], role: Role = Role.ALL) -> Settings:
    """Read all settings; SettingsError names every invalid variable."""
    reader = _Reader(environ)
    settings = Settings(
        role=role,
        database_url=reader.read(
            "BELFRY_DATABASE_URL", parsers.database_url, Settings().database_url
        ),
        public_url=reader.read("BELFRY_PUBLIC_URL", parsers.public_url, None),
        secret_keys=reader.read("BELFRY_SECRET_KEYS", parsers.keys, ()),
        admin_key=reader.read("BELFRY_ADMIN_KEY", parsers.key, None),
        allow_targets=reader.read("BELFRY_ALLOW_TARGETS", parsers.networks, ()),
        reconcile=reader.read("BELFRY_RECONCILE", parsers.switch, Settings().reconcile),
        poll=reader.read("BELFRY_POLL", parsers.polled, Settings().poll),
        moderation_warning=reader.read(
            "BELFRY_MODERATION_WARNING", parsers.share, Settings().moderation_warning
        ),
        retention_days=reader.read(
            "BELFRY_RETENTION_DAYS", parsers.days, Settings().retention_days
        ),
        max_posts=reader.read("BELFRY_MAX_POSTS", parsers.count, Settings().max_posts),
        max_streams=reader.read("BELFRY_MAX_STREAMS", parsers.count, Settings().max_streams),
        host=reader.read("HOST", str, Settings().host),
        port=reader.read(
            "PORT", parsers.port, WORKER_PORT if role is Role.WORKER else Settings().port
        ),
        accounts={
            name: _account(reader, provider.account) for name, provider in registry().items()
        },
    )
    if not settings.is_sqlite and not settings.secret_keys:
        reader.error("BELFRY_SECRET_KEYS", "is required with PostgreSQL: all processes share it")
    if settings.is_sqlite and role is not Role.ALL:
        reader.error("--role", "cannot be used with SQLite, which allows one process; leave it out")
    if reader.errors:
        raise SettingsError(reader.errors)
    return settings


class _Reader:
    """Reads variables and collects the errors of all of them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.errors: list[FieldError] = []

    def error(self, name: str, message: str) -> None:
        error = FieldError(name, message)
        if error not in self.errors:  # two providers may share a variable
            self.errors.append(error)

    def read(self, name: str, parse: Callable[[str], T], default: D) -> T | D:
        """Parse a variable; *default* where it is blank, not set or invalid."""
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            self.error(name, str(exc))
            return default


def _account(reader: _Reader, declared: AccountSettings) -> ProviderAccount:
    max_jobs = reader.read(declared.max_jobs_variable, parsers.count, None)
    keys_url = webhook_secret = None
    if declared.keys_url:
        keys_url = reader.read(declared.keys_url_variable, parsers.url, declared.keys_url)
    if declared.has_webhook_secret:
        webhook_secret = reader.read(declared.webhook_secret_variable, parsers.key, None)
    return ProviderAccount(
        token=reader.read(declared.token_variable, parsers.token, None),
        base_url=reader.read(declared.base_url_variable, parsers.url, declared.base_url),
        max_jobs=declared.max_jobs if max_jobs is None else max_jobs,
        is_max_jobs_set=max_jobs is not None,
        keys_url=keys_url,
        webhook_secret=webhook_secret,
    )
