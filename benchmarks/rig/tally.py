"""Runs counted in memory that workers and harness share; counting one takes some 0.1 µs."""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from array import array
from pathlib import Path
from time import monotonic

__all__ = ["MOST_STAMPS", "Tally"]

MOST_STAMPS = 400_000
_MOST_SLOTS = 16_384
#: 64-bit words from one slot to the next: a cache line, so that processes do not share one.
_APART = 8


class _Own(threading.local):
    """The slot of this thread of this process."""

    slot: int | None = None


class Tally:
    """A slot for each thread of each process that runs tasks, and the start time of numbered ones.

    Adding one to a slot of one's own needs no lock. A process forked for a single task gets a slot too.
    """

    def __init__(self, folder: Path) -> None:
        """Open the tally that lies in the folder."""
        self._lock_file = (folder / "slots").open("r+b")
        with (folder / "stamps").open("r+b") as stamps:
            self._stamps = memoryview(mmap.mmap(stamps.fileno(), 0)).cast("d")
        self._slots = memoryview(mmap.mmap(self._lock_file.fileno(), 0)).cast("Q")
        self._lock = threading.Lock()
        self._own = _Own()
        os.register_at_fork(after_in_child=self._forget)

    @classmethod
    def create(cls, folder: Path) -> Tally:
        """Make an empty tally in the folder."""
        for name, words in (("slots", _APART * (_MOST_SLOTS + 1)), ("stamps", MOST_STAMPS)):
            with (folder / name).open("wb") as file:
                file.truncate(8 * words)
        return cls(folder)

    def count(self) -> None:
        """Add one run."""
        own = self._own
        if own.slot is None:
            own.slot = self._take_slot()
        self._slots[own.slot] += 1

    def stamp(self, index: int) -> None:
        """Note that the numbered task starts now, by the clock that all processes share."""
        self._stamps[index] = monotonic()

    @property
    def runs(self) -> int:
        """How many runs all processes have counted."""
        return sum(self._slots[_APART : _APART * (self._slots[0] + 1) : _APART].tolist())

    def clear_stamps(self) -> None:
        self._stamps[:] = memoryview(array("d", bytes(8 * MOST_STAMPS)))

    def stamps(self, count: int) -> list[float]:
        """When each of the first tasks started, 0.0 if it has not."""
        return [float(moment) for moment in self._stamps[:count]]

    def _take_slot(self) -> int:
        with self._lock:
            fcntl.lockf(self._lock_file, fcntl.LOCK_EX)
            try:
                taken = self._slots[0] + 1
                if taken > _MOST_SLOTS:
                    raise RuntimeError("more processes and threads ran tasks than the tally has slots")
                self._slots[0] = taken
            finally:
                fcntl.lockf(self._lock_file, fcntl.LOCK_UN)
        return _APART * taken

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._own = _Own()
