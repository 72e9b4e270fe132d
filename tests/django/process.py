"""A process of a Django project that does what a test asks for, one thing after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.workers import ROOT

__all__ = ["ProjectProcess", "project_process", "sqlite_database"]


class ProjectProcess:
    """Its standard input takes calls, its standard output gives what they return."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Return what the module's function returns; raise RuntimeError with what it raises."""
        self.begin(function, *args, **kwargs)
        return self.end()

    def begin(self, function: str, *args: Any, **kwargs: Any) -> None:
        """Let it do so, and go on meanwhile."""
        assert self._process.stdin is not None
        print(json.dumps([function, args, kwargs]), file=self._process.stdin, flush=True)

    def end(self) -> Any:
        """Wait for what was begun; return what it returns."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def project_process(module: str, environment: Mapping[str, str], log: Path) -> Iterator[ProjectProcess]:
    """The process for the time of the block."""
    process = ProjectProcess(module, environment, log)
    try:
        yield process
    finally:
        process.stop()


def sqlite_database(path: Path) -> dict[str, Any]:
    """Return a database in a file, as Django's ``DATABASES`` names it, for several processes."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {"timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
    }
