"""SQLite: one process with one writer connection, which also checkpoints, and several readers.

Before SQLite 3.51.3, two connections that write and checkpoint at the same time can corrupt a WAL
database (sqlite.org/wal.html, "The WAL-Reset Bug"). The lock file and read-only readers prevent
this.
"""

import asyncio
import contextlib
import fcntl
import math
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from service.domain.primitives.errors import Invalid, StartError, Unavailable
from store.engine.dialect import LOCKS, SHARED_TERMS, Dialect, Queries, read_migrations
from store.engine.migrate import migrate
from store.engine.session import UNSTORABLE, Row
from store.engine.sqlite_files import DatabaseFiles
from store.engine.sqlite_session import BEGIN, COMMIT, Connection, SqliteSession, Statement

DIALECT: Final = Dialect(
    terms={
        **SHARED_TERMS,
        "auto_key": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "blob": "BLOB",
        "lock": "",
        "skip_locked": "",
        "fence": "",
    },
    macros={
        "in": r"IN (SELECT value FROM json_each(:\1))",
        "not_in": r"NOT IN (SELECT value FROM json_each(:\1))",
        "noindex": r"\1 || ''",
    },
    noop_queries=frozenset({*LOCKS, "notify"}),
)
READERS: Final = 2
WAIT_SECONDS: Final = 3.0
"""Limit for the wait for the writer connection and for other programs' locks together."""
CHECKPOINT_EVERY: Final = 64
"""Transactions between two checkpoints in the background.

Without them the COMMIT that fills the log checkpoints, and takes several milliseconds longer.
"""
_CHECKPOINT: Final = Statement("PRAGMA wal_checkpoint(PASSIVE)", {})
_FULL_CHECKPOINT: Final = Statement("PRAGMA wal_checkpoint(FULL)", {})
_UNRECOVERABLE: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -65536",
    "PRAGMA wal_autocheckpoint = 4000",
    f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000:.0f}",
)
_READER: Final = (
    "PRAGMA query_only = ON",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA busy_timeout = 500",
)
log = structlog.get_logger()


class SqliteDatabase:
    """One writer connection, used by one transaction at a time, and a pool of readers."""

    multi_process = False

    def __init__(
        self,
        writer: Connection,
        readers: Iterable[Connection],
        files: DatabaseFiles,
        resources: contextlib.AsyncExitStack,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._writer, self._files, self._resources = writer, files, resources
        self._files_problem: str | None = None
        self.broken = asyncio.Event()
        self._lock = asyncio.Lock()
        self._busy_timeout = round(WAIT_SECONDS * 1000)
        self._commits = 0
        self._checkpoint: asyncio.Task[None] | None = None
        self._readers: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._readers.put_nowait(reader)
        self._queries = Queries(DIALECT)
        self._wait_seconds = wait_seconds

    @contextlib.asynccontextmanager
    async def writing(self, *, long: bool = False) -> AsyncIterator[SqliteSession]:  # noqa: ARG002 - only the wait has a limit
        """One transaction of the writer; an exception or a cancellation rolls it back."""
        async with self._exclusive_writer():
            session = SqliteSession(self._writer, self._queries, BEGIN)
            try:
                with self._translate_errors():
                    yield session
                    # Buffered statements never wait: deliver a cancellation before the COMMIT.
                    await asyncio.sleep(0)
                    await self._commit(session)
            except BaseException:
                with self._translate_errors():
                    await asyncio.shield(self._writer.rollback())
                raise

    @contextlib.asynccontextmanager
    async def _exclusive_writer(self) -> AsyncIterator[None]:
        """Wait for the writer; BEGIN may wait for another program's lock for the remaining time.

        Thus every caller waits *wait_seconds* at most, however many are waiting.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_seconds
        with _timeout_as_unavailable():
            async with asyncio.timeout_at(deadline):
                await self._lock.acquire()
        try:
            self._raise_if_broken()
            await self._raise_if_files_lost()
            await self._limit_busy_wait(deadline - loop.time())
            yield
        finally:
            self._lock.release()

    def _raise_if_broken(self) -> None:
        if self.broken.is_set():
            raise Unavailable("The store is broken after a disk error; restart the service.")

    async def _limit_busy_wait(self, seconds: float) -> None:
        """Let BEGIN wait for *seconds*, in steps of 0.25 s, so that the PRAGMA is rarely needed."""
        timeout = math.ceil(max(0, seconds) * 4) * 250
        if timeout != self._busy_timeout:
            self._busy_timeout = timeout
            await self._writer.run(Statement(f"PRAGMA busy_timeout = {timeout}", {}))

    async def _commit(self, session: SqliteSession) -> None:
        await session.commit()
        await self._raise_if_files_lost()
        self._commits += 1
        if self._commits % CHECKPOINT_EVERY == 0:
            self._checkpoint = asyncio.create_task(self._run_checkpoint(), name="checkpoint")

    async def _raise_if_files_lost(self) -> None:
        """Raise Unavailable if a file was deleted, because writes to it would be lost.

        The first time, the log is copied into the database, which saves the acknowledged writes.
        """
        problem = self._files.problem()
        if problem is not None and self._files_problem is None:
            log.critical("store.file_lost", problem=problem)
            try:
                await self._writer.run(_FULL_CHECKPOINT)
            except sqlite3.Error as exc:
                self._detect_disk_error(exc)
        self._files_problem = problem
        if problem is not None:
            raise Unavailable(problem)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn errors of the driver (disk full, locked, …) into Unavailable or Invalid."""
        try:
            yield
        except sqlite3.DataError as exc:
            raise Invalid([UNSTORABLE]) from exc
        except sqlite3.DatabaseError as exc:
            self._detect_disk_error(exc)
            if isinstance(exc, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise Unavailable(f"The store is not available: {exc}") from exc

    def _detect_disk_error(self, exc: sqlite3.Error) -> None:
        """Set `broken` if *exc* is a disk error, whichever statement failed.

        After it, it is unknown what was written, even if the COMMIT was reported as failed.
        """
        # Errors of the driver itself have no code.
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_OK)
        if code & 0xFF in _UNRECOVERABLE:
            self.broken.set()

    async def _run_checkpoint(self) -> None:
        """Copy the log into the database; what cannot be copied (disk full) stays in the log."""
        async with self._lock:
            try:
                await self._writer.run(_CHECKPOINT)
            except sqlite3.Error as exc:
                self._detect_disk_error(exc)

    @contextlib.asynccontextmanager
    async def reading(self, *, long: bool = False) -> AsyncIterator[SqliteSession]:  # noqa: ARG002 - only the wait has a limit
        with _timeout_as_unavailable():
            async with asyncio.timeout(self._wait_seconds):
                reader = await self._readers.get()
        try:
            self._raise_if_broken()
            with self._translate_errors():
                yield SqliteSession(reader, self._queries)
        finally:
            self._readers.put_nowait(reader)

    async def listen(self, _on_message: Callable[[str], None], /) -> None:
        """Wait for ever: there is no other process."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Close the readers, then the writer, then release the lock file."""
        if self._checkpoint:
            await self._checkpoint
        await self._resources.aclose()


@contextlib.contextmanager
def _timeout_as_unavailable() -> Iterator[None]:
    try:
        yield
    except TimeoutError as exc:
        raise Unavailable("The store is not available: it is too busy") from exc


async def open_sqlite(database_url: str, wait_seconds: float = WAIT_SECONDS) -> SqliteDatabase:
    """Open or create the file of *database_url*, `sqlite:///` and a path.

    StartError if another process has it open, or if it cannot be used.
    """
    path = Path(database_url.removeprefix("sqlite:///"))
    async with contextlib.AsyncExitStack() as resources:
        lock_file = _lock(path)
        resources.callback(os.close, lock_file)
        uri = f"file:{quote(str(path))}"
        writer = await _connect(f"{uri}?mode=rwc", _WRITER, resources)
        try:
            await _migrate(writer)
        except sqlite3.Error as exc:
            raise StartError(f"BELFRY_DATABASE_URL: cannot prepare the database ({exc})") from exc
        readers = [await _connect(f"{uri}?mode=ro", _READER, resources) for _ in range(READERS)]
        return SqliteDatabase(
            writer, readers, DatabaseFiles(path), resources.pop_all(), wait_seconds
        )


def _lock(path: Path) -> int:
    """Lock `PATH.lock` and return its descriptor; the end of the process releases the lock."""
    try:
        file = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StartError(
            f"BELFRY_DATABASE_URL: cannot write to the folder of {path} ({exc})"
        ) from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(file)
        raise StartError(
            f"BELFRY_DATABASE_URL: another process has {path} open; a SQLite store supports one "
            "process, PostgreSQL any number"
        ) from exc
    return file


async def _connect(
    uri: str, pragmas: Sequence[str], resources: contextlib.AsyncExitStack
) -> Connection:
    """Connect, and let *resources* close it: its thread would keep the process alive."""
    try:
        connect = partial(sqlite3.connect, uri, uri=True, isolation_level=None)
        connection = Connection(connect, iter_chunk_size=64)
        await connection
        resources.push_async_callback(connection.close)
        connection.row_factory = sqlite3.Row
        for pragma in pragmas:
            await connection.execute_fetchall(pragma)
    except sqlite3.Error as exc:
        raise StartError(f"BELFRY_DATABASE_URL: cannot open the database ({exc})") from exc
    return connection


async def _migrate(writer: Connection) -> None:
    """Apply missing migrations in one transaction."""

    async def execute(statement: str) -> Sequence[Row]:
        (rows,) = await writer.run(Statement(statement, {}))
        return rows

    await writer.run(BEGIN)
    try:
        await migrate(execute, read_migrations(DIALECT))
        await writer.run(COMMIT)
    except BaseException:
        await writer.rollback()
        raise
