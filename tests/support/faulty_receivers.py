"""A process with faulty receivers; prints their URLs as JSON and ends when its input is closed."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.certificates import server_context, write_certificate
from tests.support.receivers import (
    Answer,
    bomb,
    drip,
    endless,
    hang,
    processing,
    receiving,
    reset,
    status,
)
from tests.support.service_harness import free_port

FAULTS: Final[dict[str, Answer]] = {
    "never answers": hang,
    "sends single bytes": drip,
    "sends 102 for ever": processing,
    "sends headers for ever": endless,
    "sends a gzip bomb": bomb,
    "resets the connection": reset,
    "redirects": status(302, location="http://127.0.0.1:1/"),
    "answers 500": status(500),
    "answers 429": status(429, retry_after="3600"),
}


async def serve(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        urls = {"is not listening": f"http://127.0.0.1:{free_port()}/"}
        for name, answer in FAULTS.items():
            receiver = await stack.enter_async_context(receiving())
            receiver.otherwise = answer
            urls[name] = receiver.url
        untrusted = await stack.enter_async_context(
            receiving(server_context(write_certificate(folder)))
        )
        urls["has a bad certificate"] = untrusted.url
        silent = await stack.enter_async_context(receiving())
        urls["does not answer the TLS handshake"] = silent.url.replace("http:", "https:")
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def run_faulty_receivers(folder: Path) -> AsyncIterator[dict[str, str]]:
    """The URL of a receiver for each fault, by the name of the fault."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.faulty_receivers", str(folder), stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
