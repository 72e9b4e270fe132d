"""Runs inside the suite: gives its tests the worker that is wanted, and writes down what became of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery.contrib.pytest
import pytest
from celery.contrib.testing.worker import TestWorkController, start_worker
from celery.utils.nodenames import anon_nodename
from celery.worker import state

from tests.compat.celery_suite.revoked_stamps import RevokedStamps
from tests.compat.celery_suite.succeeded import Succeeded

#: Where the results go, and what stands for the suite's worker; see the names in runs.py.
RESULTS = Path(os.environ["SUITE_RESULTS"])
WORKER = os.environ["SUITE_WORKER"]
_OPTIONS = {"concurrency": 1, "pool": "prefork"}


@pytest.fixture(scope="session")
def worker_process(celery_session_app: Any) -> Iterator[Any]:
    """A ``celery worker`` command, as a user starts it."""
    with RESULTS.with_suffix(".worker.log").open("ab") as log:
        command = [sys.executable, "-m", "celery", "-A", "tests.compat.celery_suite.worker_app", "worker"]
        options = ["-c", "1", "-l", "INFO", "-n", anon_nodename()]
        quiet = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
        process = subprocess.Popen(
            [*command, *options, *quiet], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        celery_session_app.set_default()
        ping = celery_session_app.signature("celery.ping")
        assert ping.delay().get(timeout=60, disable_sync_subtasks=False) == "pong"
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def worker_thread(celery_session_app: Any, celery_includes: Any, celery_class_tasks: Any) -> Iterator[Any]:
    """Celeriac's engine in a thread of this process, its shards in processes of their own."""
    for module in celery_includes:
        celery_session_app.loader.import_task_module(module)
    for task in celery_class_tasks:
        celery_session_app.register_task(task)

    Succeeded().note_all()

    class Controller(TestWorkController, celery_session_app.Worker):  # type: ignore[misc]
        """The app's own worker, which tells the test when it is ready."""

    with start_worker(celery_session_app, WorkController=Controller, quiet=True, **_OPTIONS) as worker:
        RevokedStamps(worker.engine.tell).stand_in()
        yield worker


# The suite's conftest takes the fixture from there.
_FIXTURES = {"process": worker_process, "thread": worker_thread}
if WORKER in _FIXTURES:
    celery.contrib.pytest.celery_session_worker = _FIXTURES[WORKER]
    state.successful_requests = Succeeded()


class Outcomes:
    """What became of each test, its last run counting."""

    def __init__(self) -> None:
        self._tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self._tests.setdefault(report.nodeid, {"outcome": "passed", "runs": 0, "seconds": 0.0})
        test["seconds"] = round(test["seconds"] + report.duration, 2)
        if report.when == "setup":
            test["runs"] += 1
            test.update(outcome="passed", reason="")
        if report.outcome == "skipped":
            test["outcome"] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            test["reason"] = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        elif report.outcome in ("failed", "rerun"):
            reason = _first_line(report)
            test.update(outcome="xpassed" if "XPASS" in reason else "failed", reason=reason)
        RESULTS.write_text(json.dumps(self._tests, indent=1))


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return (text.strip().splitlines() or [""])[0][:300]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(), "celery-suite-outcomes")
