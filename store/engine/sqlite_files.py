"""The files of a SQLite database: whether their paths still lead to those that are open."""

import os
from pathlib import Path


class DatabaseFiles:
    """Remembers the files of a database that is open; each has its log in `PATH-wal`."""

    def __init__(self, path: Path) -> None:
        database = path.resolve()  # SQLite keeps the log beside what a link points to
        names = (str(database), f"{database}-wal")
        self._opened = {name: _identity(name) for name in names}

    def problem(self) -> str | None:
        """Say which file was deleted or replaced, and what to do; None when all are there.

        SQLite goes on writing to a deleted file, which is gone when the process ends.
        """
        for path, opened in self._opened.items():
            if _identity(path) != opened:
                return f"{os.path.basename(path)} {_advice(path)}"  # noqa: PTH119 - a name is shown
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked twice for each transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _advice(path: str) -> str:
    gone = "was deleted or replaced under the service, so nothing is written any more"
    if path.endswith("-wal"):
        return f"{gone}: restart the service, which goes on with all that was acknowledged."
    return f"{gone}: put it back, or stop the service, restore a backup and start it again."
