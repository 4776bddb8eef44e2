"""A process of receivers with every fault there is; it says their URLs, and ends with its input."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.certificates import context_of, tls_server
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
    "hangs": hang,
    "drips": drip,
    "says 102 for ever": processing,
    "sends headers for ever": endless,
    "sends a gzip bomb": bomb,
    "resets": reset,
    "redirects": status(302, location="http://127.0.0.1:1/"),
    "fails": status(500),
    "is busy": status(429, retry_after="3600"),
}


async def serve(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        urls = {"listens to nobody": f"http://127.0.0.1:{free_port()}/"}
        for name, answer in FAULTS.items():
            receiver = await stack.enter_async_context(receiving())
            receiver.otherwise = answer
            urls[name] = receiver.url
        strange = await stack.enter_async_context(receiving(context_of(tls_server(folder))))
        urls["has a bad certificate"] = strange.url
        mute = await stack.enter_async_context(receiving())
        urls["is silent when TLS begins"] = mute.url.replace("http:", "https:")
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def misbehaving(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Everything that can be wrong with a receiver, by name, with its URL."""
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
