"""What the disk alone takes to make a small write durable: the floor under every commit."""

import os
import tempfile
import time
from statistics import median
from typing import Final

# On a disk, where the system's first choice of a temporary place may be memory.
FOLDER: Final = "/var/tmp"  # noqa: S108 - names in it are made unique by tempfile
_WRITES: Final = 200


def sync_ms() -> float:
    """The median of appending 4 KiB and waiting until it is on disk."""
    with tempfile.NamedTemporaryFile(prefix="belfry-bench-", dir=FOLDER, buffering=0) as file:
        return median(_sync_once(file.fileno()) for _ in range(_WRITES))


def _sync_once(file: int) -> float:
    start = time.perf_counter()
    os.write(file, bytes(4096))
    os.fdatasync(file)
    return 1000 * (time.perf_counter() - start)
