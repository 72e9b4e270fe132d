"""Flower, as it is published, watches and steers an engine worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode

import pytest

from tests.servers import free_port, wait_until
from tests.stage import APP, Stage
from tests.workers import ROOT, WorkerProcess

NODE = "one@test"


class Flower:
    """The HTTP API of a running Flower."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def page(self, path: str, **form: Any) -> str:
        """The answer to a GET, or to a POST if there is a form."""
        data = urlencode(form).encode() if form else None
        with urllib.request.urlopen(f"{self._base}{path}", data, timeout=30) as answer:
            return str(answer.read().decode())

    def api(self, path: str, **form: Any) -> Any:
        """The same, as JSON."""
        return json.loads(self.page(f"/api/{path}", **form))

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


@contextmanager
def flower(stage: Stage) -> Iterator[Flower]:
    """A Flower on the stage's app for the time of the block."""
    if find_spec("flower") is None:
        message = "flower is missing: pip install flower"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    port = free_port()
    options = ["--address=127.0.0.1", f"--port={port}"]
    variables = {
        "BROKER": stage.url,
        "RESULTS": stage.results,
        "KEY_PREFIX": stage.prefix,
        "FLOWER_UNAUTHENTICATED_API": "true",
    }
    with (stage.folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", APP, "flower", *options],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            running = Flower(port)
            wait_until(lambda: running.answers() or process.poll() is not None, what="flower")
            assert process.poll() is None, Path(log.name).read_text()
            yield running
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def watched(stage: Stage) -> Iterator[tuple[Stage, WorkerProcess, Flower]]:
    """A worker that sends events, and a Flower that has heard of it."""
    with stage.worker("-c", "2", "-E", "-n", NODE) as worker, flower(stage) as watcher:
        wait_until(lambda: watcher.api("workers?status=1").get(NODE) is True, what="the worker online")
        wait_until(lambda: NODE in watcher.api("workers"), what="the worker inspected")
        yield stage, worker, watcher


@pytest.mark.shows("package", "flower")
def test_flower_knows_the_worker_and_its_tasks(watched: tuple[Stage, WorkerProcess, Flower]) -> None:
    stage, worker, flower = watched
    sent = {"SUCCESS": stage.send("add", 1, 2), "FAILURE": stage.send("fail", "boom")}
    for state, result in sent.items():
        wait_until(lambda r=result, s=state: flower.task(r.id).get("state") == s, what=state)
    assert flower.task(sent["SUCCESS"].id)["result"] == "3"
    assert flower.task(sent["SUCCESS"].id)["worker"] == NODE
    assert flower.task(sent["FAILURE"].id)["exception"] == "ValueError('boom')"
    assert flower.api(f"task/info/{sent['SUCCESS'].id}")["name"] == f"{APP}.add"
    assert flower.api(f"task/result/{sent['SUCCESS'].id}")["result"] == 3

    about = flower.api(f"workers?refresh=1&workername={NODE}")[NODE]
    assert about["stats"]["pid"] == worker.pid
    assert about["stats"]["pool"]["processes"] == worker.shards()
    assert about["stats"]["total"] == {f"{APP}.add": 1, f"{APP}.fail": 1}
    assert f"{APP}.add" in about["registered"]
    assert [queue["name"] for queue in about["active_queues"]] == ["celery"]
    assert about["conf"]["broker_url"].startswith(stage.url.partition(":")[0])

    if stage.prefix:  # it knows no SQLite
        [length] = flower.api("queues/length")["active_queues"]
        assert length["name"] == "celery"
    for page in ("/workers", f"/worker/{NODE}", "/tasks", f"/task/{sent['SUCCESS'].id}"):
        assert "Flower" in flower.page(page)
    assert f'flower_worker_online{{worker="{NODE}"}} 1.0' in flower.page("/metrics")


@pytest.mark.shows("package", "flower")
def test_flower_steers_the_worker(watched: tuple[Stage, WorkerProcess, Flower]) -> None:
    stage, worker, flower = watched
    running = stage.send("effect", "running", 60)
    wait_until(lambda: flower.task(running.id).get("state") == "STARTED", what="the task running")
    flower.api(f"task/revoke/{running.id}", terminate="true")
    wait_until(lambda: flower.task(running.id).get("state") == "REVOKED", what="the task terminated")
    assert running.state == "REVOKED"
    waiting = stage.send("effect", "waiting", queue="extra")
    flower.api(f"task/revoke/{waiting.id}", terminate="false")

    flower.api(f"worker/queue/add-consumer/{NODE}", queue="extra")
    wait_until(lambda: flower.task(waiting.id).get("state") == "REVOKED", what="the task revoked")
    assert stage.ledger.keys("started") == {"running"}
    flower.api(f"worker/queue/cancel-consumer/{NODE}", queue="extra")

    flower.api(f"worker/pool/grow/{NODE}", n=2)
    wait_until(lambda: len(worker.shards()) == 4, what="four shards")
    flower.api(f"worker/pool/shrink/{NODE}", n=3)
    wait_until(lambda: len(worker.shards()) == 1, what="one shard")
    flower.api(f"task/timeout/{APP}.effect", workername=NODE, hard=0.5)
    late = stage.send("effect", "late", 60)
    wait_until(lambda: flower.task(late.id).get("state") == "FAILURE", what="the task timed out")
    flower.api(f"task/rate-limit/{APP}.effect", workername=NODE, ratelimit="5/s")
    flower.api(f"worker/shutdown/{NODE}", now="1")
    assert worker.process.wait(timeout=15) == 0
    wait_until(lambda: flower.api("workers?status=1").get(NODE) is False, what="the worker offline")
