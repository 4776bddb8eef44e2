"""What is measured: each phase has processes of its own and returns one sample."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, Self

import msgspec

from tests.bench.disk import PLACE
from tests.bench.load import HOST, Pool, request
from tests.bench.measure import Measured, Sample
from tests.bench.process import ROOT, Busy, Process
from tests.bench.receiver import Provider, Receiver
from tests.bench.service import Service, caption
from tests.support.databases import fresh_database, own_server
from tests.support.faulty_receivers import run_faulty_receivers
from tests.support.service_harness import free_port

Kind = Literal["sqlite", "postgres"]
IN_FLIGHT: Final = 64
DELIVERED: Final = 'belfry_attempts_total{status="delivered"}'
WARM: Final = 200
"""Callbacks before those that count: they open the connections and fill the caches."""
_REF: Final = "5788104a-1ca7-4b7e-8a16-b27b57e86f87"
_TARGET: Final = f"/callbacks/runware/{_REF}?t=1700000000.{'A' * 43}"


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured from callbacks to webhooks, *count* of the one, on which database.

    Of those subscribed *well* take what they are sent and *dead* refuse every connection; with
    *owed* the store holds a million jobs, and as many deliveries to other dead receivers.
    """

    count: int
    well: int = 1
    dead: int = 0
    owed: bool = False
    kind: Kind = "sqlite"
    roles: tuple[str, ...] = ("all",)
    warm: int = WARM


class Bench:
    """The generator's servers, which all phases share, and the stores that are filled once."""

    def __init__(self, folder: Path, profile: Path | None = None) -> None:
        self._folder, self._profile = folder, profile
        self.receiver, self._provider = Receiver(), Provider()
        self._stack = ExitStack()
        self._filled: dict[Kind, str] = {}

    async def __aenter__(self) -> Self:
        await self.receiver.open()
        await self._provider.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.receiver.close()
        self._provider.close()
        self._stack.close()

    async def route(self, seconds: float) -> Sample:
        """An empty route, flooded."""
        port = free_port()
        process = Process(["tests.bench.route", str(port)], self._folder / "route.log")
        try:
            pool = await _opened(port, process)
            message = request("POST", _TARGET, caption(_REF))
            await pool.flood(_for(0.3, message))
            before = sum(pool.statuses.values())
            with Measured(process.pid) as measured:
                await pool.flood(_for(seconds, message))
            pool.require(204)
            pool.close()
            return measured.sample(sum(pool.statuses.values()) - before)
        finally:
            process.stop()

    async def post(self, seconds: float) -> Sample:
        """Bare POSTs to the receiver."""
        log = self._folder / "post.log"
        log.unlink(missing_ok=True)
        arguments = [str(self.receiver.port), str(seconds), str(IN_FLIGHT)]
        process = Process(["tests.bench.post", *arguments], log)
        try:
            await _said(process, 1)
            own = Busy(os.getpid(), time.perf_counter())
            rate, busy = (float(word) for word in await _said(process, 3))
        finally:
            process.stop()
        generator, _ = own.share(time.perf_counter())
        return Sample(rate=rate, measured=busy, main_thread=busy, generator=generator)

    @asynccontextmanager
    async def _service(self, story: Story) -> AsyncIterator[tuple[Service, Pool, list[bytes]]]:
        """A service that waits for the callbacks of *story*."""
        self._provider.targets.clear()
        with self._database(story) as url:
            async with Service(self._provider, self._profile, url, story.roles) as service:
                hooks = await service.subscribe(self._urls(story), IN_FLIGHT)
                refs = await service.submit(story.warm + story.count)
                pool = await Pool.open(IN_FLIGHT, *service.doors)
                yield service, pool, service.callbacks(refs)
                pool.require(204)
                pool.close()
                await service.unsubscribe(hooks)

    def _urls(self, story: Story) -> list[str]:
        ports = [self.receiver.port] * story.well + [free_port()] * story.dead
        return [f"http://{HOST}:{port}/hook/{number}" for number, port in enumerate(ports)]

    @contextmanager
    def _database(self, story: Story) -> Iterator[str | None]:
        """None is a fresh file of the service's own."""
        if story.owed:
            yield self._filled_database(story.kind)
        elif story.kind == "sqlite":
            yield None
        else:
            with own_server() as server, fresh_database(server.url) as url:
                yield url

    def _filled_database(self, kind: Kind) -> str:
        if kind not in self._filled:
            if kind == "sqlite":
                folder = self._stack.enter_context(TemporaryDirectory(dir=PLACE))
                url = f"sqlite:///{folder}/belfry.db"
            else:
                url = self._stack.enter_context(own_server()).url
            command = [sys.executable, "-m", "tests.bench.owed", url]
            subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - our own module
            self._filled[kind] = url
        return self._filled[kind]

    async def intake(self, count: int, kind: Kind = "sqlite") -> Sample:
        """Callbacks, each for another job, with nobody subscribed."""
        async with self._service(Story(count=count, well=0, kind=kind)) as opened:
            service, pool, callbacks = opened
            await pool.flood(iter(callbacks[:WARM]))
            service.profile(on=True)
            with Measured(service.process.pid) as measured:
                await pool.flood(iter(callbacks[WARM:]))
            service.profile(on=False)
            return measured.sample(count, service)

    async def end_to_end(self, story: Story) -> Sample:
        """Callbacks in until the last webhook of them is settled."""
        async with self._service(story) as (service, pool, callbacks):
            await self._through(service, pool, callbacks[: story.warm], story.well)
            service.profile(on=True)
            with Measured(*service.pids) as measured:
                await self._through(service, pool, callbacks[story.warm :], story.well)
            service.profile(on=False)
            return measured.sample(story.count, service)

    async def _through(
        self, service: Service, pool: Pool, callbacks: Sequence[bytes], well: int
    ) -> None:
        settled = await service.read(DELIVERED) + len(callbacks) * well
        awaited = self.receiver.count + len(callbacks) * well
        await pool.flood(iter(callbacks))
        await self.receiver.until(awaited)
        await service.until(DELIVERED, settled)

    async def latency_among_bad(self, rate: float, count: int) -> Sample:
        """The same beside receivers with every fault there is."""
        async with run_faulty_receivers(self._folder) as urls:
            return await self.latency(rate, count, tuple(urls.values()))

    async def latency(
        self, rate: float, count: int, bad: Sequence[str] = (), kind: Kind = "sqlite"
    ) -> Sample:
        """Callbacks at a steady rate; each until the first byte of its webhook."""
        async with self._service(Story(count=count, kind=kind)) as (service, pool, callbacks):
            await service.subscribe(bad, 8)
            warmed = self.receiver.count + WARM
            await _pace(pool, callbacks[:WARM], rate)
            await self.receiver.until(warmed)
            arrivals = self.receiver.arrivals = {}
            awaited = self.receiver.count + count
            with Measured(service.process.pid) as measured:
                sent = await _pace(pool, callbacks[WARM:], rate)
                await self.receiver.until(awaited)
            self.receiver.arrivals = None
            sample = measured.sample(count, service)
            sample.latencies_ms = sorted(1000 * (arrivals[ref] - at) for ref, at in sent.items())
            return sample


async def _opened(port: int, process: Process) -> Pool:
    while True:
        process.check()
        try:
            return await Pool.open(IN_FLIGHT, port)
        except OSError:
            await asyncio.sleep(0.02)


async def _said(process: Process, words: int) -> list[str]:
    """Wait until a process has said as many *words*; those after the first."""
    while len(said := process.log.read_text().split()) < words:
        process.check()
        await asyncio.sleep(0.01)
    return said[1:]


def _for(seconds: float, message: bytes) -> Iterator[bytes]:
    until = time.perf_counter() + seconds
    for one in cycle([message]):
        if time.perf_counter() >= until:
            return
        yield one


async def _pace(pool: Pool, callbacks: Sequence[bytes], rate: float) -> dict[bytes, float]:
    """Send each at its time, whether or not those before it are answered; when each was sent."""
    sent: dict[bytes, float] = {}
    start = time.perf_counter()
    while len(sent) < len(callbacks):
        now = time.perf_counter()
        for callback in callbacks[len(sent) : min(int((now - start) * rate) + 1, len(callbacks))]:
            sent[_ref(callback)] = time.perf_counter()
            pool.send(callback)
        await asyncio.sleep(0.001)
    await pool.idle()
    return sent


def _ref(callback: bytes) -> bytes:
    """The ref in the target of a callback: /callbacks/runware/{ref}?t=…"""
    return callback.split(b"?", 1)[0].rsplit(b"/", 1)[1]
