"""One test's processes: an app, its workers and its producers, all on Celery or all on Celeriac."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.servers import RedisServer
from tests.workers import ROOT, WorkerProcess, worker

_CALL = "import importlib, json, sys; name, function, arguments = sys.argv[1:]; module = importlib."
_CALL += "import_module(name); print(json.dumps(getattr(module, function)(*json.loads(arguments))))"


class Site:
    """Everything lies in the test's own folder, or behind a key prefix of its own in Redis."""

    def __init__(self, folder: Path, redis: RedisServer, engine: str) -> None:
        self.folder = folder
        self.engine = engine
        self.environment = {
            "ENGINE": engine,
            "BROKER": redis.url,
            "RESULTS": f"{redis.url[:-1]}1",
            "KEY_PREFIX": f"{uuid.uuid4().hex[:8]}:",
            "FOLDER": str(folder),
            "PYTHONWARNINGS": "ignore",
        }

    def worker(self, app: str, *options: str, **environment: str) -> AbstractContextManager[WorkerProcess]:
        """A worker of this package's app, started and ready."""
        variables = {**self.environment, **environment}
        return worker(_module(app), *options, environment=variables, log=self.folder / "worker.log")

    def call(self, app: str, function: str, *arguments: Any, **environment: str) -> Any:
        """Return what a function of the app's module returns in a process of its own, through JSON."""
        done = subprocess.run(
            [sys.executable, "-c", _CALL, _module(app), function, json.dumps(arguments)],
            cwd=ROOT,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def beat(self, app: str, *options: str, **environment: str) -> Iterator[None]:
        """`celery beat` for the time of the block."""
        place = ["--schedule", str(self.folder / "schedule"), "--pidfile", ""]
        with (self.folder / "beat.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", _module(app), "beat", "-l", "info", *place, *options],
                cwd=ROOT,
                env={**os.environ, **self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def lines(self, name: str) -> list[Any]:
        """What has been written so far into a file of the folder, one JSON value in each line."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _module(app: str) -> str:
    return f"tests.packages.{app}"
