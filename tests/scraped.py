"""Processes that are scraped: a worker with a port of its own, an exporter, a beat that tells of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.prometheus import Scraped
from tests.servers import free_port, wait_until
from tests.stage import APP, Stage
from tests.workers import ROOT, WorkerProcess

CELERIAC = str(Path(sys.executable).with_name("celeriac"))


@contextmanager
def measured(
    stage: Stage, *options: str, log: str = "worker.log", **settings: object
) -> Iterator[tuple[WorkerProcess, Scraped]]:
    """A worker with a port of its own."""
    port = free_port()
    conf = json.dumps({"metrics_port": port, **settings})
    with stage.worker("-n", "one@test", *options, log=log, CONF=conf) as worker:
        yield worker, Scraped(port)


@contextmanager
def exporter(stage: Stage, *options: str) -> Iterator[Scraped]:
    """``celeriac metrics`` on the stage's broker."""
    port = free_port()
    command = [CELERIAC, "-A", APP, "metrics", "--port", str(port), *options]
    with (stage.folder / "exporter.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **stage.environment()}, stdout=output, stderr=output
        )
    try:
        scraped = Scraped(port)
        wait_until(lambda: scraped.get("/ready")[0] == 200 or process.poll() is not None, what="the exporter")
        assert process.poll() is None, (stage.folder / "exporter.log").read_text()
        yield scraped
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


@contextmanager
def beat(stage: Stage, **settings: object) -> Iterator[None]:
    """``celery beat``, which tells the broker of itself."""
    command = [sys.executable, "-m", "celery", "-A", APP, "beat", "-s", str(stage.folder / "schedule")]
    conf = json.dumps({"metrics_share": True, **settings})
    with (stage.folder / "beat.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **stage.environment(), "CONF": conf},
            stdout=output,
            stderr=output,
        )
    try:
        yield
        assert process.poll() is None, (stage.folder / "beat.log").read_text()
    finally:
        process.terminate()
        process.wait(timeout=30)
