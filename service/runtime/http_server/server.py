"""Runs an application under uvicorn, with an end that open event streams do not hold up."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from service.domain.primitives.errors import StartError
from service.runtime.http_server.connections import Connections, Limits
from service.runtime.http_server.file_limits import file_shares
from service.runtime.http_server.http_protocol import HttpConnection
from service.runtime.settings import MAX_POSTS
from service.runtime.wakeups import Wakeups

GRACE_SECONDS: Final = 4
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """Take the port at once, so that one that is taken is told as a setting at fault."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        reason = exc.strerror or str(exc)
        raise StartError(f"HOST, PORT: cannot listen on {host}:{port} ({reason})") from exc
    return listener


def limits_beside(posts: int = MAX_POSTS) -> Limits:
    """As many connections as the limit of open files leaves room for beside *posts* webhooks."""
    shares = file_shares(posts)
    return Limits(connections=shares.connections, spare=shares.spare, backlog=shares.backlog)


class Server(uvicorn.Server):
    """Closes *wakeups* when it is told to stop, because uvicorn first waits for open streams.

    Without *limits* they are those of `limits_beside`.
    """

    def __init__(
        self, app: ASGIApp, wakeups: Wakeups, host: str, port: int, limits: Limits | None = None
    ) -> None:
        limits = limits or limits_beside()
        self._connections = Connections[HttpConnection](limits)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            backlog=limits.backlog,
            http=cast("Any", partial(HttpConnection, connections=self._connections)),
            ws="none",
            lifespan="off",
            access_log=False,  # it would print callback URLs with their signatures
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._wakeups = wakeups
        self._socket = listen(host, port)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        self.ready = asyncio.Event()

    async def run_until_stopped(self) -> None:
        await self.serve([self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def on_tick(self, counter: int) -> bool:
        """End what has waited too long, ten times a second."""
        self._connections.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def stop(self) -> None:
        """Stop accepting, end streams, let requests finish."""
        self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._wakeups.close()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals without raising them again at the end: there is still work to finish."""
        loop = asyncio.get_running_loop()
        for sig in _SIGNALS:
            loop.add_signal_handler(sig, self.handle_exit, sig, None)
        try:
            yield
        finally:
            for sig in _SIGNALS:
                loop.remove_signal_handler(sig)
