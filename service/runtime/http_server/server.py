"""Runs an application under uvicorn; open event streams do not delay its shutdown."""

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
"""How long requests may take to finish at shutdown."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """Bind the port; StartError when that fails, so that it is reported like an invalid setting."""
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


def connection_limits(posts: int = MAX_POSTS) -> Limits:
    """As many connections as the limit of open files allows with *posts* webhook requests."""
    shares = file_shares(posts)
    return Limits(connections=shares.connections, spare=shares.spare, backlog=shares.backlog)


class Server(uvicorn.Server):
    """Closes *wakeups* at shutdown to end the event streams, because uvicorn waits for them.

    *limits* are by default those of `connection_limits`.
    """

    def __init__(
        self, app: ASGIApp, wakeups: Wakeups, host: str, port: int, limits: Limits | None = None
    ) -> None:
        limits = limits or connection_limits()
        self._connections = Connections[HttpConnection](limits)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            backlog=limits.backlog,
            http=cast("Any", partial(HttpConnection, connections=self._connections)),
            ws="none",
            lifespan="off",
            access_log=False,  # it would log callback URLs with their signatures
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
        """Check the timeouts of the connections; uvicorn calls this ten times a second."""
        self._connections.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def stop(self) -> None:
        """Accept no more connections, end the streams, let requests finish."""
        self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._wakeups.close()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals; unlike uvicorn, do not raise them again: workers still have to stop."""
        loop = asyncio.get_running_loop()
        for sig in _SIGNALS:
            loop.add_signal_handler(sig, self.handle_exit, sig, None)
        try:
            yield
        finally:
            for sig in _SIGNALS:
                loop.remove_signal_handler(sig)
