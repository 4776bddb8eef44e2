"""`python -m tests.bench.post PORT SECONDS IN_FLIGHT`: bare aiohttp POSTs, as many as it can."""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from typing import Final

import aiohttp
import uvloop

from tests.bench.load import HOST

BODY: Final = b'{"data":"' + b"x" * 989 + b'"}'
WARM_SECONDS: Final = 0.3
_HEADERS: Final = {
    "content-type": "application/json",
    "webhook-id": "evt_" + "0" * 26,
    "webhook-timestamp": "1700000000",
    "webhook-signature": "v1," + "A" * 44,
}


async def main(port: int, seconds: float, in_flight: int) -> None:
    """Print `warm`, then how many POSTs a second were answered at what share of a core."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"user-agent": "Belfry", "accept-encoding": "identity"},
    ) as session:
        await _flood(session, port, WARM_SECONDS, in_flight)
        print("warm", flush=True)  # noqa: T201 - read by us
        start, cpu = time.perf_counter(), time.process_time()
        done = await _flood(session, port, seconds, in_flight)
        elapsed = time.perf_counter() - start
    print(done / elapsed, 100 * (time.process_time() - cpu) / elapsed)  # noqa: T201 - read by us


async def _flood(session: aiohttp.ClientSession, port: int, seconds: float, in_flight: int) -> int:
    until, done = time.perf_counter() + seconds, itertools.count()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(_post_repeatedly(session, f"http://{HOST}:{port}/hook", until, done))
    return next(done)


async def _post_repeatedly(
    session: aiohttp.ClientSession, url: str, until: float, done: Iterator[int]
) -> None:
    while time.perf_counter() < until:
        async with session.post(
            url, data=BODY, headers=_HEADERS, allow_redirects=False
        ) as response:
            await response.read()
        next(done)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
