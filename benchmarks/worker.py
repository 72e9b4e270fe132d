"""A running worker seen from outside: what it has run, what memory and CPU its processes take."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import click
from contenders import Bench, Contender
from workload import count_runs

__all__ = ["Worker"]

_STOP_SECONDS = 20
_TICKS = os.sysconf("SC_CLK_TCK")


class Worker:
    """``celery worker`` of one contender in a session of its own, by which its processes are found."""

    def __init__(self, bench: Bench, contender: Contender, concurrency: int) -> None:
        shutil.rmtree(bench.counters, ignore_errors=True)
        bench.counters.mkdir()
        self._bench = bench
        self._name = contender.name
        options = ["-A", contender.module, "worker", "-l", "WARNING", "-c", str(concurrency)]
        with bench.log.open("wb") as log:
            self._process = bench.start(contender, "-m", "celery", *options, *contender.options, output=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def runs(self) -> int:
        """How many tasks have run to their end, by their own count."""
        return count_runs(self._bench.counters)

    @property
    def pss(self) -> int:
        """Bytes of memory of all processes, each shared page divided among those who share it."""
        rollups = [_read(Path(f"/proc/{pid}/smaps_rollup")) for pid in self._pids()]
        lines = [line.split() for rollup in rollups for line in rollup.splitlines()]
        return 1024 * sum(int(words[1]) for words in lines if words[0] == "Pss:")

    @property
    def cpu_seconds(self) -> float:
        """CPU time that all living processes have used."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._pids()) / _TICKS

    @property
    def processes(self) -> int:
        return len(self._pids())

    def check(self) -> None:
        """Raise with the end of its log if the worker has ended."""
        if self._process.poll() is not None:
            raise self.failure(f"ended with {self._process.returncode}")

    def failure(self, what: str) -> click.ClickException:
        log = self._bench.log.read_text(errors="replace")[-2000:]
        return click.ClickException(f"the worker of {self._name} {what}; its log ends:\n{log}")

    def stop(self) -> None:
        """Ask the worker to end; kill what is left of its session afterwards."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in self._pids():
            os.kill(pid, signal.SIGKILL)

    def _pids(self) -> list[int]:
        """The processes of the worker's session."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if _stat(pid)[3:4] == [str(self._process.pid)]]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks; none if it has ended."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _read(file: Path) -> str:
    """The file's text, empty if its process has ended meanwhile."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
