"""What the store asks of a database: sessions that read or write in one transaction."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from service.domain.primitives.errors import FieldError

Row = Mapping[str, Any]
QueryCall = tuple[str, Mapping[str, object]]
"""A query, and the values of its parameters."""
UNSTORABLE: Final = FieldError("", "has a value that the database cannot store, probably too long")
"""What is wrong with an input alone, and not with the database: to try again is of no use."""


class Session(Protocol):
    """One transaction; queries go by their names in `queries.sql`, *where* fills `{where}`.

    Only `rows` and `each` wait for the database; what `run` and `run_many` send may fail at the
    next wait.
    """

    async def fetch(self, query: str, where: str = "", /, **values: object) -> Sequence[Row]: ...
    async def fetch_all(self, *asked: QueryCall) -> Sequence[Sequence[Row]]:
        """Ask several things that do not depend on each other, in one way there and back."""

    async def queue(self, query: str, **values: object) -> None: ...
    async def queue_many(self, query: str, rows: Iterable[Mapping[str, object]]) -> None: ...


class Database(Protocol):
    """Raises Unavailable when it cannot be reached or written; *broken* is beyond repair.

    It raises Invalid for a value that it cannot store, whoever else is served.

    Nobody waits longer than about four seconds for it, less than a provider waits for an answer.
    Only what is *long*, because it touches any number of rows, may itself take longer.
    """

    broken: asyncio.Event
    shared: bool
    """Whether other processes work on it too."""

    def reading(self, *, long: bool = False) -> AbstractAsyncContextManager[Session]: ...
    def writing(self, *, long: bool = False) -> AbstractAsyncContextManager[Session]: ...
    async def listen(self, heard: Callable[[str], None], /) -> None:
        """Tell what `notify` queries of any process say, until cancelled."""

    async def close(self) -> None: ...
