"""The system clock and the random id source, and the types by which others receive them."""

import random
import secrets
import time
from collections.abc import Callable
from typing import Protocol

from service.domain.primitives import ids

Clock = Callable[[], int]
"""Returns the current time in microseconds since 1970 in UTC."""


class IdSource(Protocol):
    """Makes ids, refs and random bytes for secrets; times are in microseconds."""

    def new_id(self, prefix: str, at: int) -> str: ...
    def new_ref(self) -> str: ...
    def random_bytes(self, count: int) -> bytes: ...


def now() -> int:
    """The current time in microseconds since 1970 in UTC."""
    return time.time_ns() // 1000


class SystemIdSource:
    """Ids from the fast generator, as they only have to be unique; refs and secrets from the OS."""

    def new_id(self, prefix: str, at: int) -> str:
        return ids.new_id(prefix, at, random.getrandbits(ids.RANDOM_BITS))

    def new_ref(self) -> str:
        return ids.new_ref(secrets.randbits(128))

    def random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)
