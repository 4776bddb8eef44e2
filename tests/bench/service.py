"""One or several processes of `belfry serve` on a fresh database; jobs are submitted over HTTP."""

import asyncio
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from tests.bench.disk import FOLDER
from tests.bench.load import HOST, Pool, fetch, request
from tests.bench.process import Process, resident_mb
from tests.bench.receiver import Provider
from tests.support.service_harness import free_port

KEY: Final = "bench-admin-key-0123456789abcdef0123456789abcdef"
ARRAY: Final = 100
START_SECONDS: Final = 20
SETTLE_SECONDS: Final = 30
_HEADERS: Final = {"authorization": f"Bearer {KEY}"}
_JOB: Final = {
    "provider": "runware",
    "operation": "imageCaption",
    "input": {
        "inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87",
        "model": "runware:150@2",
        "prompt": "What is in this image?",
    },
}
_CAPTION: Final = "a lighthouse on a cliff above a stormy sea at dusk, its lamp lit, " * 6


class Service:
    """One running service: a process for each of *roles*.

    *start_seconds* is the time from spawn to ready, *idle_mb* the memory after it. Callbacks go in
    turn to *callback_ports*.
    """

    def __init__(
        self,
        provider: Provider,
        profile: Path | None = None,
        database_url: str | None = None,
        roles: Sequence[str] = ("all",),
    ) -> None:
        self._provider, self._profile, self._roles = provider, profile, roles
        self._database_url = database_url
        self.folder = Path(tempfile.mkdtemp(prefix="belfry-bench-", dir=FOLDER))
        self.ports = [free_port() for _ in roles]
        self.port = self.ports[0]
        self.callback_ports = [p for p, r in zip(self.ports, roles, strict=True) if r != "worker"]
        self._started: list[Process] = []

    async def __aenter__(self) -> Self:
        start = time.perf_counter()
        module = ["service"] if self._profile is None else _profiled(self._profile)
        for role, port in zip(self._roles, self.ports, strict=True):
            arguments = module if role == "all" else [*module, "--role", role]
            log = self.folder / f"log-{port}"
            self._started.append(Process(arguments, log, self._environ(port)))
        self.process = self._started[0]
        try:
            await asyncio.wait_for(self._ready(), START_SECONDS)
        except BaseException as exc:
            await self.__aexit__(None, exc)
            raise
        self.start_seconds = time.perf_counter() - start
        self.idle_mb = resident_mb(self.process.pid)
        return self

    async def __aexit__(
        self, _: object = None, exc: BaseException | None = None, __: object = None
    ) -> None:
        """Stop; an error gets a note with the state of the processes and the ends of their logs."""
        if exc is not None:
            exc.add_note("\n".join(process.describe() for process in self._started))
        for process in self._started:
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environ(self, port: int) -> dict[str, str]:
        return {
            "HOST": HOST,
            "PORT": str(port),
            "BELFRY_DATABASE_URL": self._database_url or f"sqlite:///{self.folder}/belfry.db",
            "BELFRY_SECRET_KEYS": KEY,
            "BELFRY_PUBLIC_URL": f"http://{HOST}:{self.port}",
            "BELFRY_ADMIN_KEY": KEY,
            "BELFRY_ALLOW_TARGETS": "127.0.0.0/8",
            "RUNWARE_API_KEY": "bench",
            "RUNWARE_BASE_URL": f"http://{HOST}:{self._provider.port}/v1",
            "RUNWARE_MAX_JOBS": "10000",
        }

    async def _ready(self) -> None:
        for process, port in zip(self._started, self.ports, strict=True):
            while not await _is_ready(port):
                process.check()
                await asyncio.sleep(0.01)

    async def subscribe(self, urls: Sequence[str], in_flight: int) -> list[str]:
        """Subscribe each of *urls*; the ids of the subscriptions."""
        if not urls:
            return []
        pool = await Pool.open(1, self.port)
        for url in urls:
            body = {
                "url": url,
                "event_types": ["job.succeeded"],
                "max_in_flight": in_flight,
            }
            data = msgspec.json.encode(body)
            pool.send(request("POST", "/v1/subscriptions", data, _HEADERS))
        await pool.idle()
        pool.require(201)
        pool.close()
        return await self._hooks()

    async def _hooks(self) -> list[str]:
        found: list[str] = []
        cursor = ""
        while True:
            target = f"/v1/subscriptions?limit=100{cursor}"
            page = msgspec.json.decode((await fetch(self.port, target, _HEADERS))[1])
            found += [one["id"] for one in page["data"]]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def unsubscribe(self, hooks: Sequence[str]) -> None:
        pool = await Pool.open(1, self.port)
        for hook in hooks:
            pool.send(request("DELETE", f"/v1/subscriptions/{hook}", headers=_HEADERS))
        await pool.idle()
        pool.close()

    async def submit(self, count: int) -> list[str]:
        """Submit *count* jobs and wait until all are `submitted`; their refs."""
        known = set(self._provider.targets)
        pool = await Pool.open(4, self.port)
        await pool.flood(_arrays(count))
        pool.require(202)
        pool.close()
        await self.until("belfry_submissions_total", count)
        return [ref for ref in self._provider.targets if ref not in known]

    def callbacks(self, refs: Sequence[str]) -> list[bytes]:
        """The callbacks, as requests, that end the jobs of *refs*."""
        return [request("POST", self._provider.targets[ref], caption(ref)) for ref in refs]

    async def until(self, metric: str, count: int) -> None:
        """Wait until the sum of *metric* is *count*; RuntimeError when that takes too long."""
        deadline = time.perf_counter() + SETTLE_SECONDS
        while (reached := await self.read(metric)) < count:
            for process in self._started:
                process.check()
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{metric} stays at {reached} of {count}")
            await asyncio.sleep(0.005)

    async def read(self, metric: str) -> int:
        total, labelled = 0, re.escape(metric) + ("" if "{" in metric else "{.*}")
        for port in self.ports:
            _, page = await fetch(port, "/metrics")
            values = re.findall(rf"^{labelled} (\S+)$".encode(), page, re.MULTILINE)
            total += sum(int(float(value)) for value in values)
        return total

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._started]

    def profile(self, *, on: bool) -> None:
        if self._profile is not None:
            self.process.signal(signal.SIGUSR1 if on else signal.SIGUSR2)


async def _is_ready(port: int) -> bool:
    try:
        status, _ = await fetch(port, "/readyz")
    except OSError:
        return False
    return status == 200


def _profiled(file: Path) -> list[str]:
    return ["tests.bench.profiled", str(file.resolve())]


def _arrays(count: int) -> Iterator[bytes]:
    for start in range(0, count, ARRAY):
        body = msgspec.json.encode([_JOB] * min(ARRAY, count - start))
        yield request("POST", "/v1/jobs", body, _HEADERS)


def caption(ref: str) -> bytes:
    """A result as Runware calls it back, of about 600 bytes."""
    item = {"taskType": "imageCaption", "taskUUID": ref, "text": _CAPTION, "cost": 0.0006}
    return msgspec.json.encode({"data": [item]})
