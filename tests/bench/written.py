"""What a PostgreSQL server writes during a phase: ahead to its log, and into the database."""

from typing import Self

import psycopg
from msgspec.structs import replace

from tests.bench.measure import Sample


class Written:
    """Kilobytes written between entering and leaving; row versions count until vacuumed."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Self:
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._read()
        self._wal, self._disk = (b - a for a, b in zip(self._before, after, strict=True))

    def beside(self, sample: Sample, count: int) -> Sample:
        """Put what one of *count* callbacks has cost beside their rate."""
        return replace(sample, wal_kb=self._wal / count / 1000, disk_kb=self._disk / count / 1000)

    def _read(self) -> tuple[int, int]:
        with psycopg.connect(self._url) as connection:
            row = connection.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,"
                " pg_database_size(current_database())"
            ).fetchone()
        if row is None:
            raise RuntimeError("the server says nothing of what it has written")
        return int(row[0]), int(row[1])
