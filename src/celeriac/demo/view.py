"""How a run is shown while it goes on: alive on a terminal, in plain lines anywhere else."""

from __future__ import annotations

import time
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from celeriac.demo.ledger import Counts

__all__ = ["LiveView", "PlainView", "View"]

#: Seconds between two lines of progress where there is no terminal.
_LINE_EVERY = 5.0


class View(Protocol):
    """What a run tells of itself."""

    def expect(self, imported: int, shipped: int) -> None:
        """So many orders will be imported, and so many of them shipped."""
        ...

    def progress(self, counts: Counts) -> None:
        """The run is so far."""
        ...

    def say(self, event: str) -> None:
        """Something happened."""
        ...


class PlainView:
    """Lines of text, each with the seconds since the beginning."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._next_line = 0.0
        self._imported = self._shipped = 0

    def expect(self, imported: int, shipped: int) -> None:
        self._imported, self._shipped = imported, shipped

    def progress(self, counts: Counts) -> None:
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY
            imported = counts.imported
            self.say(f"{imported}/{self._imported} imported, {counts.shipped}/{self._shipped} shipped")

    def say(self, event: str) -> None:
        self._stream.write(f"{time.monotonic() - self._began:6.1f} s  {event}\n")
        self._stream.flush()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s", justify="right")


class LiveView:
    """Two bars with rate and remaining time, and above them what happened."""

    def __init__(self, console: Console) -> None:
        self._began = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
        )
        self._imported = self._bars.add_task("imported", total=None)
        self._shipped = self._bars.add_task("shipped", total=None)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def expect(self, imported: int, shipped: int) -> None:
        self._bars.update(self._imported, total=imported)
        self._bars.update(self._shipped, total=shipped)

    def progress(self, counts: Counts) -> None:
        self._bars.update(self._imported, completed=counts.imported)
        self._bars.update(self._shipped, completed=counts.shipped)

    def say(self, event: str) -> None:
        seconds = time.monotonic() - self._began
        self._bars.console.print(f"[dim]{seconds:6.1f} s[/]  {event}", highlight=False)
