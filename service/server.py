"""Runs an application under uvicorn, with an end that open event streams do not hold up."""

from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from service.feed import Feed

GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Closes *feed* at the first signal: uvicorn waits for streams before it ends the lifespan."""

    def __init__(self, app: ASGIApp, feed: Feed, *, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                access_log=False,
                log_config=None,
                server_header=False,
                lifespan="on",
                timeout_graceful_shutdown=GRACE_SECONDS,
                backlog=2048,
            )
        )
        self._feed = feed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._feed.close()
        super().handle_exit(sig, frame)
