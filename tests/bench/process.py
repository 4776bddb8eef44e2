"""Measured processes: each on a core of its own, with what it costs read from /proc."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 15
_CORES: Final = sorted(os.sched_getaffinity(0))
CORES: Final = len(_CORES)
MEASURED: Final = {_CORES[0]}
LOAD: Final = {_CORES[-1]}
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class Process:
    """`python -m MODULE ...` on the measured core; its output goes to the file *log*."""

    def __init__(
        self, arguments: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={**kept, **(environ or {})},
                stdout=out,
                stderr=out,
            )
        os.sched_setaffinity(self._process.pid, MEASURED)
        self.pid = self._process.pid

    def check(self) -> None:
        """RuntimeError when the process has failed."""
        if self._process.poll():
            raise RuntimeError(self.describe())

    def describe(self) -> str:
        """Say whether the process runs, and the end of what it has logged."""
        code = self._process.poll()
        state = "runs" if code is None else f"ended with {code}"
        return f"process {self.pid} {state}; its log ends:\n{self.log.read_text()[-2000:]}"

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Busy:
    """How busy a process was since this was made, in percent of one core."""

    def __init__(self, pid: int, clock: float) -> None:
        self._pid, self._start = pid, clock
        self._all, self._main = cpu_seconds(pid), _thread_seconds(pid)

    def share(self, clock: float) -> tuple[float, float]:
        """The whole process, and its main thread alone."""
        wall = max(clock - self._start, 1e-9)
        whole, main = cpu_seconds(self._pid) - self._all, _thread_seconds(self._pid) - self._main
        return 100 * whole / wall, 100 * main / wall


def cpu_seconds(pid: int) -> float:
    return _seconds(Path(f"/proc/{pid}/stat"))


def _thread_seconds(pid: int) -> float:
    return _seconds(Path(f"/proc/{pid}/task/{pid}/stat"))


def _seconds(stat: Path) -> float:
    """User and system time: fields 14 and 15 of proc_pid_stat(5)."""
    fields = stat.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS of {pid}")
