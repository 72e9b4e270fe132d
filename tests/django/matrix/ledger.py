"""What processes say they did, in a file outside of the system under test."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Entry", "Ledger", "read"]


class Entry(NamedTuple):
    what: str
    key: str
    #: Unix seconds.
    at: float


class Ledger:
    """Once ``note`` returns, its line outlives the process; lines of several processes do not mix."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._pid = 0

    def note(self, what: str, key: str) -> None:
        if self._pid != os.getpid():
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._pid = os.getpid()
        os.write(self._file, f"{what}\t{key}\t{time.time():.6f}\n".encode())


def read(path: Path) -> list[Entry]:
    """Return everything in the ledger, in the order in which it was written."""
    lines = (line.split("\t") for line in path.read_text().splitlines())
    return [Entry(what, key, float(at)) for what, key, at in lines]
