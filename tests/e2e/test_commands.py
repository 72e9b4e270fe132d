"""Celery's commands on a Celeriac app, with Redis as with SQLite."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from celeriac.core.broker import QueueStats
from tests.servers import wait_until
from tests.stage import APP, Stage
from tests.workers import ROOT


def command(stage: Stage, *arguments: str) -> str:
    """Run a command of Celery's to its end; return what it said."""
    running = start(stage, *arguments)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    return output


def start(stage: Stage, *arguments: str) -> subprocess.Popen[str]:
    """Run a command of Celery's."""
    return subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", APP, *arguments],
        cwd=ROOT,
        env={**os.environ, **stage.environment(), "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def half_delayed(redis_stage: Stage) -> Stage:
    """Three messages wait, and four for their time."""
    stage = redis_stage
    for number in range(4):
        stage.send("effect", f"later-{number}", countdown=60, priority=number * 3)
    with stage.worker("-c", "1") as worker:
        wait_until(lambda: stats(stage).delayed == 4)
        assert worker.stop() == 0
    for _ in range(3):
        stage.send("add", 1, 1)
    return stage


def stats(stage: Stage) -> QueueStats:
    return stage.broker().stats(["celery"])["celery"]


@pytest.mark.shows("beyond", "`celery purge` drops delayed messages too")
def test_purge_drops_what_waits_and_what_is_delayed(half_delayed: Stage) -> None:
    assert "Purged 7 messages from 1 known task queue" in command(half_delayed, "purge", "-f")
    assert stats(half_delayed) == QueueStats()


def test_so_does_the_amqp_command(half_delayed: Stage) -> None:
    assert "7 messages deleted" in command(half_delayed, "amqp", "queue.purge", "celery")
    assert stats(half_delayed) == QueueStats()


@pytest.mark.shows("worker option", "--purge")
def test_so_does_the_workers_option(half_delayed: Stage) -> None:
    with half_delayed.worker("-c", "1", "--purge", log="second.log") as worker:
        assert "Erased 7 messages from the queue" in worker.text
        assert worker.stop() == 0
    assert stats(half_delayed) == QueueStats()


def test_the_result_command_shows_results_and_tracebacks(stage: Stage) -> None:
    with stage.worker("-c", "1"):
        good, bad = stage.send("add", 1, 2), stage.send("fail", "boom")
        assert good.get(timeout=10) == 3
        wait_until(lambda: bad.state == "FAILURE")
    assert command(stage, "result", good.id).strip() == "3"
    assert "boom" in command(stage, "result", "--traceback", bad.id)


def test_bindings_are_listed(stage: Stage) -> None:
    with stage.worker("-c", "1"):
        wait_until(lambda: "celery" in command(stage, "list", "bindings"))
