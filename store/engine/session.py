"""The interface of both databases: sessions, each of which is one transaction."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from service.domain.primitives.errors import FieldError

Row = Mapping[str, Any]
Values = Mapping[str, object]
"""The parameters of a query; its optional lines count if their parameter is given."""
UNSTORABLE: Final = FieldError("", "has a value that the database cannot store, probably too long")
"""For errors that are caused by the input alone, so that a retry is useless."""


class Session(Protocol):
    """One transaction; queries go by their names in `queries/`.

    Only `fetch` and `fetch_all` wait for the database. What is queued may fail at the next wait.
    """

    async def fetch(self, query: str, **values: object) -> Sequence[Row]: ...
    async def fetch_all(self, **queries: Values) -> dict[str, Sequence[Row]]:
        """Run independent queries in one round trip; the rows of each by its name."""

    async def queue(self, query: str, **values: object) -> None: ...
    async def queue_many(self, query: str, rows: Iterable[Values]) -> None:
        """Run a query once for each of *rows*."""


class Database(Protocol):
    """A database; raises Unavailable if it cannot be reached or written.

    It raises Invalid for a value that it cannot store.

    No caller waits longer than about four seconds, less than a provider waits for an answer. Only
    a *long* transaction, which touches any number of rows, may take longer.
    """

    broken: asyncio.Event
    """Set when the database can no longer be trusted."""
    multi_process: bool
    """Whether other processes may use it at the same time."""

    def reading(self, *, long: bool = False) -> AbstractAsyncContextManager[Session]: ...
    def writing(self, *, long: bool = False) -> AbstractAsyncContextManager[Session]: ...
    async def listen(self, on_message: Callable[[str], None], /) -> None:
        """Report the `notify` messages of all processes, until cancelled."""

    async def close(self) -> None: ...
