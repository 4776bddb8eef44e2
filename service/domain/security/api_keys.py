"""API keys: their format, hash and scopes."""

import hashlib
import hmac
import re
from enum import StrEnum
from typing import Final

import msgspec


def key_hash(key: str) -> str:
    """Hash an API key; SHA-256 without salt is enough, because keys are random."""
    return hashlib.sha256(b"belfry.key\x00" + key.encode()).hexdigest()


def constant_time_equal(given: str, expected: str) -> bool:
    """Compare two strings in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())


PREFIX: Final = "bfy_"
RANDOM_BYTES: Final = 24
DEFAULT_TENANT: Final = "default"
TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHAPE: Final = re.compile(r"bfy_[0-9a-f]{48}[0-9a-f]{8}")


class Scope(StrEnum):
    """A permission; `admin` allows everything in its tenant, and to create keys for any tenant."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    SUBSCRIPTIONS_WRITE = "subscriptions:write"
    ADMIN = "admin"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as it is stored: its *hash*, never the key."""

    id: str
    hash: str
    tenant: str
    name: str | None
    scopes: tuple[str, ...]
    created_at: int


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The authenticated caller; *key_id* is None for the admin key from the settings."""

    tenant: str
    scopes: tuple[str, ...]
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def new_key(random_bytes: bytes) -> str:
    """Make a key from 24 random bytes; it ends with a checksum."""
    key = PREFIX + random_bytes.hex()
    return key + _checksum(key)


def is_well_formed(key: str) -> bool:
    """Whether *key* has the format and the checksum of a key, without a lookup in the store."""
    return _SHAPE.fullmatch(key) is not None and key[-8:] == _checksum(key[:-8])


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
