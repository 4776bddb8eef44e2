"""One sample: a rate, and the CPU use of both sides while it was taken."""

import os
import time
from typing import Final, Self

import msgspec

from tests.bench.process import LOAD, MEASURED, Busy
from tests.bench.service import Service

LIMITS: Final = ("route", "post")
"""The baseline phases, which use a whole core unless another program disturbs them."""
_ALL: Final = 90 if MEASURED != LOAD else 0


class Sample(msgspec.Struct, kw_only=True):
    """*rate* per second; CPU in percent of a core: measured processes, main threads, generator."""

    rate: float = 0.0
    measured: float = 0.0
    main_thread: float = 0.0
    generator: float = 0.0
    latencies_ms: list[float] = []
    start_s: float = 0.0
    idle_mb: float = 0.0

    @property
    def has_core(self) -> bool:
        return self.measured >= _ALL


class Measured:
    """The time and CPU use of a phase; several processes count as one."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        self._busy = [Busy(pid, self._start) for pid in self._pids]
        self._own = Busy(os.getpid(), self._start)
        return self

    def __exit__(self, *_: object) -> None:
        end = time.perf_counter()
        self._seconds = end - self._start
        whole, main = zip(*(busy.share(end) for busy in self._busy), strict=True)
        self._shares = (sum(whole), sum(main), self._own.share(end)[0])

    def sample(self, count: int, service: Service | None = None) -> Sample:
        measured, main_thread, generator = self._shares
        return Sample(
            rate=count / self._seconds,
            measured=measured,
            main_thread=main_thread,
            generator=generator,
            start_s=service.start_seconds if service else 0.0,
            idle_mb=service.idle_mb if service else 0.0,
        )
