"""Which of several relays works, where a database cannot let them share its rows."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

__all__ = ["Election", "Everybody", "OneOnThisMachine", "election_for"]


class Everybody:
    """All relays work."""

    def won(self) -> bool:
        """Return True."""
        return True

    def resign(self) -> None:
        """Do nothing."""


class OneOnThisMachine:
    """Whoever holds the lock of a file works; it is free as soon as that process is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def won(self) -> bool:
        """Return whether this process has the lock, or has got it now."""
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def resign(self) -> None:
        """Let another one win."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


Election = Everybody | OneOnThisMachine


def election_for(connection: Any, *, locking: bool) -> Election:
    """Return how relays of the database agree; one in memory has no other relays."""
    if locking or connection.is_in_memory_db():
        return Everybody()
    name = Path(connection.settings_dict["NAME"])
    return OneOnThisMachine(name.with_name(f"{name.name}-relay"))
