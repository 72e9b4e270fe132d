"""A run of many schedules that may be interrupted, and go on later."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from tests.setting import commit, write_run
from tests.simulation.many import Totals, run_many

__all__ = ["LongRun"]

#: Schedules after which the summary is written anew.
SAVE_EVERY = 10_000


class _Setting(msgspec.Struct):
    commit: str
    options: dict[str, int]


class _Saved(Totals):
    """What lies in a summary."""

    setting: _Setting = msgspec.field(default_factory=lambda: _Setting("", {}))
    took_seconds: float = 0.0


class LongRun:
    """So many schedules from the seed ``first`` on; whatever is in its file is complete up to some seed."""

    def __init__(self, first: int, schedules: int, processes: int, file: Path | None = None) -> None:
        self.first = first
        self.schedules = schedules
        self.totals = Totals()
        self.took = 0.0
        self._processes = processes
        self._file = file

    def take_up(self) -> None:
        """Begin where the run of the same commit ended that wrote the file."""
        if self._file is None or not self._file.exists():
            raise click.UsageError("nothing to go on with: name a summary with --json")
        saved = msgspec.json.decode(self._file.read_bytes(), type=_Saved, dec_hook=_count)
        if saved.setting.commit != commit():
            raise click.UsageError(f"{self._file} is of commit {saved.setting.commit}, this is {commit()}")
        self.first = saved.setting.options["first"]
        self.took = saved.took_seconds
        self.totals.merge(saved)

    def go(self) -> Iterator[Totals]:
        """Yield the totals so far after each few schedules, and write them down now and then."""
        while (done := self.totals.schedules) < self.schedules:
            began = time.monotonic()
            some = min(SAVE_EVERY, self.schedules - done)
            for part in run_many(self.first + done, some, self._processes):
                self.totals.merge(part)
                yield self.totals
            self.took += time.monotonic() - began
            self.save()

    def save(self) -> None:
        """Write down what there is."""
        if self._file is not None:
            options = {"first": self.first, "schedules": self.totals.schedules, "processes": self._processes}
            write_run(self._file, options, {"took_seconds": round(self.took, 1), **self.totals.as_json()})


def _count(_kind: type, saved: dict[str, int]) -> Counter[str]:
    return Counter(saved)
