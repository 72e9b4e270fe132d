"""A contender's producer, a process of its own that does one job after the other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

__all__ = ["Producer"]


class Producer:
    """Asks the program ``produce.py`` for jobs and waits for each."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def fill(self, count: int, task: str = "noop", *arguments: Any) -> float:
        """Enqueue many tasks by the quickest call; return seconds."""
        return float(self._do("fill", count=count, task=task, arguments=arguments))

    def one_by_one(self, count: int, seconds: float) -> tuple[int, float]:
        """Enqueue no-op tasks, each after the other; return how many were sent in how many seconds."""
        sent, taken = self._do("one_by_one", count=count, seconds=seconds)
        return int(sent), float(taken)

    def round_trips(self, count: int, seconds: float) -> list[float]:
        """Return the seconds from each call to its result; fewer calls if time is up."""
        return list(self._do("round_trips", count=count, seconds=seconds))

    def record(self, first: int, count: int, file: str) -> None:
        """Write what the library sends to Redis for the numbered tasks into the file."""
        self._do("record", first=first, count=count, file=file)

    def _do(self, job: str, **options: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"job": job} | options).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            self._process.wait()
            log = self._log.read_text(errors="replace")[-2000:]
            raise click.ClickException(f"the producer of {self._name} ended in {job}; its log ends:\n{log}")
        return json.loads(answer)
