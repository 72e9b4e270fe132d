"""Flower as it is published, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode

import pytest

from tests.servers import free_port, wait_until
from tests.workers import ROOT


class Flower:
    """The HTTP API of a running Flower."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def page(self, path: str, **form: Any) -> str:
        """The answer to a GET, or to a POST if there is a form."""
        return self._ask(path, urlencode(form).encode() if form else None)

    def api(self, path: str, **form: Any) -> Any:
        """The same, as JSON."""
        return json.loads(self.page(f"/api/{path}", **form))

    def post(self, path: str, **values: Any) -> Any:
        """The JSON answer to a POST of JSON."""
        return json.loads(self._ask(f"/api/{path}", json.dumps(values).encode()))

    def _ask(self, path: str, data: bytes | None) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=30) as answer:
            return str(answer.read().decode())

    def answers(self) -> bool:
        """Whether it listens already."""
        try:
            return self.page("/healthcheck") == "OK"
        except URLError:
            return False

    def task(self, uuid: str) -> dict[str, Any]:
        """What it knows of a task."""
        found: dict[str, Any] = self.api("tasks").get(uuid, {})
        return found

    def wait_for(self, node: str) -> None:
        """Return once it has heard of the worker and asked it what it does."""
        wait_until(lambda: self.api("workers?status=1").get(node) is True, what="the worker online")
        wait_until(lambda: node in self.api("workers"), what="the worker inspected")


@contextmanager
def flower(app: str, environment: Mapping[str, str], log: Path, cwd: Path = ROOT) -> Iterator[Flower]:
    """A Flower on the app for the time of the block."""
    if find_spec("flower") is None:
        message = "flower is missing: pip install flower"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    port = free_port()
    options = ["--address=127.0.0.1", f"--port={port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app, "flower", *options],
            cwd=cwd,
            env={**os.environ, **environment, "FLOWER_UNAUTHENTICATED_API": "true"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            running = Flower(port)
            wait_until(lambda: running.answers() or process.poll() is not None, what="flower")
            assert process.poll() is None, log.read_text()
            yield running
        finally:
            process.terminate()
            process.wait()
