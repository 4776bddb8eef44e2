"""The phases: each starts its own processes and returns one sample."""

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

from tests.bench.disk import FOLDER
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


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement from callbacks to webhooks: *count* callbacks on one *kind* of database.

    *well* receivers accept everything, *dead* ones refuse every connection. With *owed* the store
    holds a million jobs, and a pending delivery of each to other dead receivers. *warm* callbacks
    come first and do not count.
    """

    count: int
    well: int = 1
    dead: int = 0
    owed: bool = False
    kind: Kind = "sqlite"
    roles: tuple[str, ...] = ("all",)
    warm: int = WARM


class BenchServers:
    """The servers of the load generator, shared by all phases, and stores that are filled once."""

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
        """An empty Starlette route, called as fast as it answers."""
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
        """Bare aiohttp POSTs to the receiver."""
        log = self._folder / "post.log"
        log.unlink(missing_ok=True)
        arguments = [str(self.receiver.port), str(seconds), str(IN_FLIGHT)]
        process = Process(["tests.bench.post", *arguments], log)
        try:
            await _words_of(process, 1)
            own = Busy(os.getpid(), time.perf_counter())
            rate, busy = (float(word) for word in await _words_of(process, 3))
        finally:
            process.stop()
        generator, _ = own.share(time.perf_counter())
        return Sample(rate=rate, measured=busy, main_thread=busy, generator=generator)

    @asynccontextmanager
    async def _service(
        self, scenario: Scenario
    ) -> AsyncIterator[tuple[Service, Pool, list[bytes]]]:
        """A service with submitted jobs, whose callbacks are not sent yet."""
        self._provider.targets.clear()
        with self._database(scenario) as url:
            async with Service(self._provider, self._profile, url, scenario.roles) as service:
                hooks = await service.subscribe(self._urls(scenario), IN_FLIGHT)
                refs = await service.submit(scenario.warm + scenario.count)
                pool = await Pool.open(IN_FLIGHT, *service.callback_ports)
                yield service, pool, service.callbacks(refs)
                pool.require(204)
                pool.close()
                await service.unsubscribe(hooks)

    def _urls(self, scenario: Scenario) -> list[str]:
        ports = [self.receiver.port] * scenario.well + [free_port()] * scenario.dead
        return [f"http://{HOST}:{port}/hook/{number}" for number, port in enumerate(ports)]

    @contextmanager
    def _database(self, scenario: Scenario) -> Iterator[str | None]:
        """A database URL; None lets the service create a file of its own."""
        if scenario.owed:
            yield self._filled_database(scenario.kind)
        elif scenario.kind == "sqlite":
            yield None
        else:
            with own_server() as server, fresh_database(server.url) as url:
                yield url

    def _filled_database(self, kind: Kind) -> str:
        if kind not in self._filled:
            if kind == "sqlite":
                folder = self._stack.enter_context(TemporaryDirectory(dir=FOLDER))
                url = f"sqlite:///{folder}/belfry.db"
            else:
                url = self._stack.enter_context(own_server()).url
            command = [sys.executable, "-m", "tests.bench.fill_store", url]
            subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - our own module
            self._filled[kind] = url
        return self._filled[kind]

    async def intake(self, count: int, kind: Kind = "sqlite") -> Sample:
        """Callbacks, each for another job, without subscriptions."""
        async with self._service(Scenario(count=count, well=0, kind=kind)) as opened:
            service, pool, callbacks = opened
            await pool.flood(iter(callbacks[:WARM]))
            service.profile(on=True)
            with Measured(service.process.pid) as measured:
                await pool.flood(iter(callbacks[WARM:]))
            service.profile(on=False)
            return measured.sample(count, service)

    async def end_to_end(self, scenario: Scenario) -> Sample:
        """From the first callback until the last webhook is delivered."""
        async with self._service(scenario) as (service, pool, callbacks):
            await self._deliver_all(service, pool, callbacks[: scenario.warm], scenario.well)
            service.profile(on=True)
            with Measured(*service.pids) as measured:
                await self._deliver_all(service, pool, callbacks[scenario.warm :], scenario.well)
            service.profile(on=False)
            return measured.sample(scenario.count, service)

    async def _deliver_all(
        self, service: Service, pool: Pool, callbacks: Sequence[bytes], well: int
    ) -> None:
        settled = await service.read(DELIVERED) + len(callbacks) * well
        awaited = self.receiver.count + len(callbacks) * well
        await pool.flood(iter(callbacks))
        await self.receiver.until(awaited)
        await service.until(DELIVERED, settled)

    async def latency_among_bad(self, rate: float, count: int) -> Sample:
        """The same beside receivers with every kind of fault."""
        async with run_faulty_receivers(self._folder) as urls:
            return await self.latency(rate, count, tuple(urls.values()))

    async def latency(
        self, rate: float, count: int, bad: Sequence[str] = (), kind: Kind = "sqlite"
    ) -> Sample:
        """Callbacks at a constant rate; latency from each to the first byte of its webhook."""
        async with self._service(Scenario(count=count, kind=kind)) as (service, pool, callbacks):
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


async def _words_of(process: Process, count: int) -> list[str]:
    """Wait until a process has printed *count* words; returns those after the first."""
    while len(words := process.log.read_text().split()) < count:
        process.check()
        await asyncio.sleep(0.01)
    return words[1:]


def _for(seconds: float, message: bytes) -> Iterator[bytes]:
    until = time.perf_counter() + seconds
    for one in cycle([message]):
        if time.perf_counter() >= until:
            return
        yield one


async def _pace(pool: Pool, callbacks: Sequence[bytes], rate: float) -> dict[bytes, float]:
    """Send each at its time, answered or not; returns when each was sent."""
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
