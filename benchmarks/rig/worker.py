"""A contender's running worker: warmed up, held still while a queue is filled, and waited for."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from rig.processes import Family
from rig.tally import Tally

__all__ = ["Worker"]

#: How often the counters are read; a reading takes some 0.05 ms.
_POLL_SECONDS = 0.005
_STALLED_SECONDS = 30


class Worker:
    """A worker in a session of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, tally: Tally) -> None:
        self._name = name
        self._process = process
        self._log = log
        self._tally = tally
        self.family = Family(process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def runs(self) -> int:
        """How many tasks have run to their end."""
        return self._tally.runs

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, reached: Callable[[int], bool]) -> tuple[float, int]:
        """Return when it was, and how many had run, once ``reached(runs)`` is true."""
        seen, changed = -1, time.monotonic()
        while True:
            runs = self.runs
            done = reached(runs)
            now = time.monotonic()
            if done:
                return now, runs
            if runs != seen:
                seen, changed = runs, now
            elif now - changed > _STALLED_SECONDS:
                raise self.failure(f"stands still after {runs} runs")
            if self._process.poll() is not None:
                raise self.failure(f"ended with {self._process.returncode}")
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Stop all its processes for the block; afterwards they go on at once, whatever lies in the queue."""
        self.family.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.family.send(signal.SIGCONT)

    def failure(self, what: str) -> click.ClickException:
        return click.ClickException(f"the worker of {self._name} {what}; its log ends:\n{self.log[-2000:]}")

    def stop(self) -> None:
        """Kill all of it: its Redis ends too, and some take ten seconds to say goodbye."""
        self.family.send(signal.SIGKILL)
        self._process.wait()
        self.family.send(signal.SIGKILL)
