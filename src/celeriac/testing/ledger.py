"""What processes wrote down before they were killed: which messages they handed in, and which they ended."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Ledger"]


class Ledger:
    """An append-only file beside the broker, to which several processes may write.

    A process says what it is about to do before a call, and what came of it afterwards::

        sending    the message may have been accepted
        sent       it was accepted
        ending     the message may have been made done by this process
        kept       it was not made done by this process
        ended      it was made done
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, word: str, names: Iterable[str]) -> None:
        """Add a line for each message; once this returns, they outlive the process."""
        os.write(self._file, "".join(f"{os.getpid()} {word} {name}\n" for name in names).encode())

    def read(self) -> list[tuple[str, str, str]]:
        """Return all lines: who, word, message."""
        lines = (line.split(" ", 2) for line in self.path.read_text().splitlines())
        return [(who, word, name) for who, word, name in lines]

    def judged(self) -> tuple[set[str], set[str]]:
        """Return the messages that must still be in the broker, and those that may or may not be."""
        lines = self.read()
        last_words = {(who, name): word for who, word, name in lines}
        ended = {name for _, word, name in lines if word == "ended"}
        open_calls = {name for (_, name), word in last_words.items() if word in ("sending", "ending")}
        known = {name for _, _, name in lines}
        return known - open_calls - ended, open_calls - ended

    def close(self) -> None:
        os.close(self._file)
