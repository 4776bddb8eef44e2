"""Makes disk calls of a real process fail, with a library that is compiled from C."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_suffix(".c")


class Disk:
    """The disk under the database files of a process that is started with *environment*."""

    def __init__(self, folder: Path) -> None:
        self._library, self._control = folder / "disk_faults.so", folder / "faults"
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(self._library),
            "DISK_FAULTS": str(self._control),
            "DISK_FAULTS_PATH": "belfry.db",
        }

    def compile(self) -> None:
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE)]
        subprocess.run(command, check=True)  # noqa: S603 - our own source and folder

    def fail(self, errno: int, *calls: str) -> None:
        """Make *calls* (`pwrite`, `pread`, `fsync`, `ftruncate`) fail with *errno* from now on."""
        written = self._control.with_suffix(".new")
        written.write_text(" ".join([str(errno), *calls]))
        written.rename(self._control)

    def repair(self) -> None:
        """Make all calls succeed again."""
        self._control.unlink()
