"""``celeriac worker`` is Celery's command with less in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import wait_until
from tests.stage import Stage
from tests.workers import ROOT

APP = "tests.apps.optioned"
COMMANDS = {
    "celeriac": ["celeriac", "-A", APP, "worker"],
    "celery celeriac": ["celery", "-A", APP, "celeriac", "worker"],
}


def start(stage: Stage, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    with (stage.folder / "worker.log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **stage.environment(), **environment, "PYTHONWARNINGS": "ignore"},
            stdout=output,
            stderr=output,
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_it_takes_options_of_celery_of_the_app_and_of_the_environment(name: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path, None)
    command = [*COMMANDS[name], "-l", "info", "-n", "one@test", "-Q", "high:3,celery", "--greeting", "hello"]
    running = start(stage, *command, CELERY_WORKER_CONCURRENCY="3")
    try:
        stage.send("effect", "done")
        wait_until(lambda: stage.ledger.count("done", "done") or running.poll() is not None, what="a task")
        log = (stage.folder / "worker.log").read_text()
        assert running.poll() is None, log
        assert stage.ledger.entries("greeting") == ["hello"]
        assert "one@test ready" in log
        assert len(children(running.pid)) == 3
        running.terminate()
        assert running.wait(timeout=30) == 0
    finally:
        running.kill()
        running.wait()


def test_it_loads_nothing_that_a_worker_does_not_need(tmp_path: Path) -> None:
    """Celery's own command line loads a prompt for one of its other commands."""
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *COMMANDS["celeriac"], "--help"],
        cwd=ROOT,
        env={**os.environ, **Stage(tmp_path, None).environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--concurrency" in loaded.stdout
    assert "--greeting" in loaded.stdout
    assert "celery.bin.worker" in loaded.stderr
    for module in ("click_repl", "prompt_toolkit"):
        assert module not in loaded.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "write celeriac -A proj"), (("-A", "nowhere"), "cannot load the app 'nowhere'")],
)
def test_an_app_that_is_missing_is_said_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "celeriac", *arguments, "worker"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "APP"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
