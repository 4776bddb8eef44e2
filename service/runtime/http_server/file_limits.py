"""Divides the limit of open files between incoming connections, webhooks and everything else."""

import contextlib
import resource
from typing import Final

import msgspec

MAX_CONNECTIONS: Final = 10_000
SOCKETS_PER_POST: Final = 2
"""A webhook request may try two addresses at once; idle connections may use what is left."""
MAX_OTHER_FILES: Final = 288
"""Database (up to 40), connections to ten providers (180), DNS lookups (32), logs and the event
loop."""
MAX_BACKLOG: Final = 2048
_ENOUGH: Final = 65_536
"""More open files than the service can use."""


class FileShares(msgspec.Struct, frozen=True, kw_only=True):
    """The maximum number of sockets for each use.

    *connections* may be open, *backlog* more may wait to be accepted, and *spare* refused ones may
    linger (see `connections.Limits`).
    """

    connections: int
    spare: int
    backlog: int
    webhook_sockets: int

    @property
    def posts(self) -> int:
        """How many webhook requests may be in progress at once."""
        return self.webhook_sockets // SOCKETS_PER_POST


def raise_open_file_limit() -> None:
    """Raise the soft limit to the hard limit; it stays as it is where the system refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, _ENOUGH) if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def file_shares(posts: int) -> FileShares:
    """Divide the current limit of this process; up to *posts* webhook requests at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return shares_of(_ENOUGH if soft == resource.RLIM_INFINITY else soft, posts)


def shares_of(limit: int, posts: int) -> FileShares:
    """Divide *limit* open files; incoming connections get what the other uses leave.

    Of these, *backlog* is for the connections that the event loop accepts in one turn, before it
    can refuse any, and *spare* is for refused connections that are about to close.
    """
    other = min(MAX_OTHER_FILES, limit * 3 // 8)
    webhook_sockets = min(SOCKETS_PER_POST * posts, (limit - other) // 2)
    incoming = limit - other - webhook_sockets
    backlog = min(MAX_BACKLOG, incoming // 4)
    spare = backlog // 4
    return FileShares(
        connections=min(MAX_CONNECTIONS, incoming - backlog - spare),
        spare=spare,
        backlog=backlog,
        webhook_sockets=webhook_sockets,
    )
