"""Time and chance as the running service has them; the pure modules are handed these."""

import random
import secrets
import time

from service import ids


def now() -> int:
    """The time in microseconds since 1970 in UTC."""
    return time.time_ns() // 1000


class SystemChance:
    """Ids, which only have to differ, and refs and secrets from the system's randomness."""

    def new_id(self, prefix: str, at: int) -> str:
        return ids.new_id(prefix, at, random.getrandbits(ids.NOISE_BITS))

    def new_ref(self) -> str:
        return ids.new_ref(secrets.randbits(128))

    def noise(self, count: int) -> bytes:
        return secrets.token_bytes(count)
