"""The limit of open files, shared out between connections in, webhooks out and the rest."""

import contextlib
import resource
from typing import Final

import msgspec

MAX_CONNECTIONS: Final = 10_000
MAX_WEBHOOK_SOCKETS: Final = 1024
"""512 POSTs under way, each of which may try two addresses at once, or idle connections."""
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


def raise_open_file_limit() -> None:
    """Raise the soft limit to the hard one; where the system refuses, the soft one stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, _ENOUGH) if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def file_shares() -> FileShares:
    """Share out the limit that now holds."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return shares_of(_ENOUGH if soft == resource.RLIM_INFINITY else soft)


def shares_of(limit: int) -> FileShares:
    """Share *limit* out: incoming connections get what is left once the rest has its part.

    Of that, *backlog* is for those that the loop accepts in one turn before any can be refused,
    and *spare* for those that were refused and are about to close.
    """
    other = min(MAX_OTHER_FILES, limit * 3 // 8)
    webhook_sockets = min(MAX_WEBHOOK_SOCKETS, (limit - other) // 2)
    incoming = limit - other - webhook_sockets
    backlog = min(MAX_BACKLOG, incoming // 4)
    spare = backlog // 4
    return FileShares(
        connections=min(MAX_CONNECTIONS, incoming - backlog - spare),
        spare=spare,
        backlog=backlog,
        webhook_sockets=webhook_sockets,
    )
