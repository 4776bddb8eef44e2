"""The limit of open files, shared out between connections in, webhooks out and the rest."""

import contextlib
import resource
from typing import Final

import msgspec

MAX_CONNECTIONS: Final = 10_000
SOCKETS_PER_POST: Final = 2
"""A POST may try two addresses at once; what is left of these is for idle connections."""
MAX_OTHER_FILES: Final = 128
"""Database (up to 40), pools to providers (30), name look-ups (32), logs and the loop's own."""
MAX_BACKLOG: Final = 2048
_ENOUGH: Final = 65_536


class FileShares(msgspec.Struct, frozen=True, kw_only=True):
    """*backlog* is how many connections may wait to be accepted, *spare* see `Limits`."""

    connections: int
    spare: int
    backlog: int
    webhook_sockets: int

    @property
    def posts(self) -> int:
        """How many webhooks there is room for at once."""
        return self.webhook_sockets // SOCKETS_PER_POST


def raise_open_file_limit() -> None:
    """Raise the soft limit to the hard one; where the system refuses, the soft one stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, _ENOUGH) if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def file_shares(posts: int) -> FileShares:
    """Share out the limit that now holds, with up to *posts* webhooks under way."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return shares_of(_ENOUGH if soft == resource.RLIM_INFINITY else soft, posts)


def shares_of(limit: int, posts: int) -> FileShares:
    """Share *limit* out: incoming connections get what is left once the rest has its part.

    Of that, *backlog* is for those that the loop accepts in one turn before any can be refused,
    and *spare* for those that were refused and are about to close.
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
