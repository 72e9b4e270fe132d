"""What workers tell of themselves, in an SQLite file beside the broker's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from celeriac.brokers.sqlite_file import SqliteFile, read_sections

__all__ = ["SqliteBoard"]

_SQL = read_sections(files("celeriac.brokers").joinpath("sqlite_board.sql").read_text(encoding="utf-8"))


class SqliteBoard:
    """Texts by name, each of which is forgotten when its time is up."""

    def __init__(self, broker: Path) -> None:
        """``broker`` is the broker's own file; ours is made when something is posted or asked for."""
        self._file = SqliteFile(broker.with_name(f"{broker.name}.reports"), "OFF", _SQL)

    def post(self, name: str, text: bytes, keep_for: float) -> None:
        """Keep the text, in place of an earlier one, for so many seconds."""
        now = time.time()
        with self._file.writing() as db:
            db.execute(_SQL["forget"], (now,))
            db.execute(_SQL["post"], (name, text, now + keep_for))

    def posted(self) -> Mapping[str, bytes]:
        """Return what is kept, by name."""
        return {name: bytes(text) for name, text in self._file.read("posted", (time.time(),))}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
