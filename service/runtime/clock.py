"""The system clock and the source of random ids; everything else is handed these."""

import random
import secrets
import time
from collections.abc import Callable
from typing import Protocol

from service.domain.primitives import ids


def now() -> int:
    """The time in microseconds since 1970 in UTC."""
    return time.time_ns() // 1000


class SystemIdSource:
    """Ids, which only have to differ, and refs and secrets from the system's randomness."""

    def new_id(self, prefix: str, at: int) -> str:
        return ids.new_id(prefix, at, random.getrandbits(ids.RANDOM_BITS))

    def new_ref(self) -> str:
        return ids.new_ref(secrets.randbits(128))

    def random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)


Clock = Callable[[], int]
"""Now, in microseconds since 1970 in UTC."""


class IdSource(Protocol):
    """Where ids, refs and secrets come from."""

    def new_id(self, prefix: str, at: int) -> str: ...
    def new_ref(self) -> str: ...
    def random_bytes(self, count: int) -> bytes: ...
