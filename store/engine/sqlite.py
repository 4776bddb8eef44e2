"""SQLite: one process, one writing connection that alone checkpoints, readers beside it.

Two connections that write and checkpoint at once can corrupt a WAL database before SQLite 3.51.3
(sqlite.org/wal.html, "The WAL-Reset Bug"), hence the lock file and the read-only readers.
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
        # SQLite uses a partial index only if the query repeats the index's own condition.
        "is_waiting": " AND status IN ('queued', 'submitting')",
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
"""How long a transaction may wait for the writer and for another program's lock together."""
CHECKPOINT_EVERY: Final = 64
"""After so many transactions the log is copied into the file while nobody waits for it.

A full log does the same inside the COMMIT that fills it, and that callback waits several ms.
"""
_CHECKPOINT: Final = Statement("PRAGMA wal_checkpoint(PASSIVE)", {})
_FULL_CHECKPOINT: Final = Statement("PRAGMA wal_checkpoint(FULL)", {})
_BROKEN: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
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
    """The writer under its lock, and the readers."""

    shared = False

    def __init__(
        self,
        writer: Connection,
        readers: Iterable[Connection],
        files: DatabaseFiles,
        opened: contextlib.AsyncExitStack,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._writer, self._files, self._opened = writer, files, opened
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
        """One transaction of the writer; whatever leaves it early, even a cancel, rolls back."""
        async with self._turn():
            session = SqliteSession(self._writer, self._queries, BEGIN)
            try:
                with self._translated():
                    yield session
                    await asyncio.sleep(0)  # what is kept never waited: a cancel must come before
                    await self._commit(session)
            except BaseException:
                with self._translated():
                    await asyncio.shield(self._writer.rollback())
                raise

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for the writer; BEGIN may wait for another program's lock for what is left.

        So each is told after *wait_seconds*, however many wait: their waits do not add up.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_seconds
        with _in_time():
            async with asyncio.timeout_at(deadline):
                await self._lock.acquire()
        try:
            self._refuse_broken()
            await self._refuse_lost_files()
            await self._limit_busy_wait(deadline - loop.time())
            yield
        finally:
            self._lock.release()

    def _refuse_broken(self) -> None:
        if self.broken.is_set():
            raise Unavailable("The store is broken; the service must be started again.")

    async def _limit_busy_wait(self, seconds: float) -> None:
        """Let BEGIN wait for *seconds*, in quarters, so that it seldom has to be set."""
        timeout = math.ceil(max(0, seconds) * 4) * 250
        if timeout != self._busy_timeout:
            self._busy_timeout = timeout
            await self._writer.run(Statement(f"PRAGMA busy_timeout = {timeout}", {}))

    async def _commit(self, session: SqliteSession) -> None:
        await session.commit()
        await self._refuse_lost_files()
        self._commits += 1
        if self._commits % CHECKPOINT_EVERY == 0:
            self._checkpoint = asyncio.create_task(self._copy_the_log(), name="checkpoint")

    async def _refuse_lost_files(self) -> None:
        """Acknowledge nothing that is written to a deleted file; save what is in the log."""
        problem = self._files.problem()
        if problem is not None and self._files_problem is None:
            log.critical("store.file_lost", problem=problem)
            try:
                await self._writer.run(_FULL_CHECKPOINT)
            except sqlite3.Error as exc:
                self._judge(exc)
        self._files_problem = problem
        if problem is not None:
            raise Unavailable(problem)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's word for disk full, locked and the like into ours."""
        try:
            yield
        except sqlite3.DataError as exc:
            raise Invalid([UNSTORABLE]) from exc
        except sqlite3.DatabaseError as exc:
            self._judge(exc)
            if isinstance(exc, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise Unavailable(f"The store cannot be used just now: {exc}") from exc

    def _judge(self, exc: sqlite3.Error) -> None:
        """After an error of the disk, at whatever statement, nothing may follow.

        What was to be written may be there or not, also when the COMMIT was said to have failed.
        """
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_OK)  # the driver's own have none
        if code & 0xFF in _BROKEN:
            self.broken.set()

    async def _copy_the_log(self) -> None:
        """What cannot be copied now, because the disk is full, stays in the log."""
        async with self._lock:
            try:
                await self._writer.run(_CHECKPOINT)
            except sqlite3.Error as exc:
                self._judge(exc)

    @contextlib.asynccontextmanager
    async def reading(self, *, long: bool = False) -> AsyncIterator[SqliteSession]:  # noqa: ARG002 - only the wait has a limit
        with _in_time():
            async with asyncio.timeout(self._wait_seconds):
                reader = await self._readers.get()
        try:
            self._refuse_broken()
            with self._translated():
                yield SqliteSession(reader, self._queries)
        finally:
            self._readers.put_nowait(reader)

    async def listen(self, _heard: Callable[[str], None], /) -> None:
        """Nobody else is there to say anything."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Close the readers, then the writer, then let go of the file."""
        if self._checkpoint:
            await self._checkpoint
        await self._opened.aclose()


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except TimeoutError as exc:
        raise Unavailable("The store cannot be used just now: it is too busy") from exc


async def open_sqlite(database_url: str, wait_seconds: float = WAIT_SECONDS) -> SqliteDatabase:
    """Open or make the file of *database_url*, `sqlite:///` and a path."""
    path = Path(database_url.removeprefix("sqlite:///"))
    async with contextlib.AsyncExitStack() as opened:
        lock_file = _lock(path)
        opened.callback(os.close, lock_file)
        uri = f"file:{quote(str(path))}"
        writer = await _connect(f"{uri}?mode=rwc", _WRITER, opened)
        try:
            await _migrate(writer)
        except sqlite3.Error as exc:
            raise StartError(f"BELFRY_DATABASE_URL: cannot prepare the database ({exc})") from exc
        readers = [await _connect(f"{uri}?mode=ro", _READER, opened) for _ in range(READERS)]
        return SqliteDatabase(writer, readers, DatabaseFiles(path), opened.pop_all(), wait_seconds)


def _lock(path: Path) -> int:
    """Hold `PATH.lock` for as long as the process lives; a crash lets go of it."""
    try:
        file = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StartError(f"BELFRY_DATABASE_URL: cannot write beside {path} ({exc})") from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(file)
        raise StartError(
            f"BELFRY_DATABASE_URL: another process has {path} open; SQLite serves one process, "
            "PostgreSQL any number"
        ) from exc
    return file


async def _connect(
    uri: str, pragmas: Sequence[str], opened: contextlib.AsyncExitStack
) -> Connection:
    """Connect; what is not closed keeps its thread, and with it the process, alive."""
    try:
        connect = partial(sqlite3.connect, uri, uri=True, isolation_level=None)
        connection = Connection(connect, iter_chunk_size=64)
        await connection
        opened.push_async_callback(connection.close)
        connection.row_factory = sqlite3.Row
        for pragma in pragmas:
            await connection.execute_fetchall(pragma)
    except sqlite3.Error as exc:
        raise StartError(f"BELFRY_DATABASE_URL: cannot open the database ({exc})") from exc
    return connection


async def _migrate(writer: Connection) -> None:
    """Bring the schema up to date in one transaction."""

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
