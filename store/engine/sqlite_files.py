"""Detects that the open files of a SQLite database were deleted or replaced."""

import os
from pathlib import Path


class DatabaseFiles:
    """The identities of an open database and of its log, `PATH-wal`, when they were opened."""

    def __init__(self, path: Path) -> None:
        database = path.resolve()  # SQLite creates the log next to the target of a link
        names = (str(database), f"{database}-wal")
        self._opened = {name: _identity(name) for name in names}

    def problem(self) -> str | None:
        """Say which file was deleted or replaced, and what to do; None if both are unchanged.

        SQLite continues to write to a deleted file, whose content is lost when the process ends.
        """
        for path, opened in self._opened.items():
            if _identity(path) != opened:
                return f"{os.path.basename(path)} {_advice(path)}"  # noqa: PTH119 - only the name is shown
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - called twice per transaction, pathlib is slower
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _advice(path: str) -> str:
    problem = "was deleted or replaced while the service runs, so nothing is written any more"
    if path.endswith("-wal"):
        return f"{problem}: restart the service; no acknowledged write is lost."
    return f"{problem}: put it back, or stop the service, restore a backup and start it again."
