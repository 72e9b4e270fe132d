"""A process and its descendants, seen from outside: memory, CPU time, and all of them stopped at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["Family"]

_TICKS = os.sysconf("SC_CLK_TCK")


class Family:
    """What descends from a process, and what else is in its session."""

    def __init__(self, pid: int) -> None:
        self._first = pid

    @property
    def pids(self) -> list[int]:
        """The first process before its children; the session's orphans last."""
        stats = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
        found = [self._first] if stats.get(self._first) else []
        for pid in found:
            found += [child for child, stat in stats.items() if stat[1:2] == [str(pid)]]
        return found + [pid for pid, stat in stats.items() if self._is_orphan(stat) and pid not in found]

    @property
    def pss(self) -> int:
        """Bytes of memory of all of them, each shared page divided among those who share it."""
        rollups = [_read(Path(f"/proc/{pid}/smaps_rollup")) for pid in self.pids]
        lines = [line.split() for rollup in rollups for line in rollup.splitlines()]
        return 1024 * sum(int(words[1]) for words in lines if words[0] == "Pss:")

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the living have used, and of the dead those whose parent lives."""
        return sum(sum(map(int, _stat(pid)[11:15])) for pid in self.pids) / _TICKS

    def send(self, number: signal.Signals) -> None:
        """Send the signal to all of them, to the first process before its children."""
        for pid in self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _is_orphan(self, stat: list[str]) -> bool:
        return stat[3:4] == [str(self._first)]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks; none if it has ended."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _read(file: Path) -> str:
    """The file's text, empty if its process has ended meanwhile."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
