"""Clients that open an event stream and never read it, and a log of large events for them."""

import array
import fcntl
import socket
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from service.transactions.change_set import ChangeSet
from service.transactions.store_protocols import Store
from tests.support.factories import an_event
from tests.support.service_harness import ADMIN_KEY
from tests.support.transactions import change

RECEIVE_BUFFER = 16_384


async def write_log(store: Store, count: int, size: int) -> None:
    """Write *count* events of *size* bytes for the tenant of the admin key."""
    events = [an_event(tenant="default", payload=b"x" * size) for _ in range(count)]
    await change(store, [], lambda _: ChangeSet(events=events))


@contextmanager
def unread_stream(port: int) -> Iterator[socket.socket]:
    """Request the whole log and read nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        client.connect(("127.0.0.1", port))
        client.sendall(
            b"GET /v1/stream?after=0 HTTP/1.1\r\nhost: x\r\n"
            b"authorization: Bearer %s\r\n\r\n" % ADMIN_KEY.encode()
        )
        yield client


async def has_first_page(client: socket.socket) -> bool:
    """Whether a page of the log has arrived, that is more bytes than the response headers."""
    unread = array.array("i", [0])
    fcntl.ioctl(client, termios.FIONREAD, unread)
    return unread[0] > 2000
