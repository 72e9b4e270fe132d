"""Tasks of Django's framework in real workers: called, tried again, and run anew after a worker's death."""

from __future__ import annotations

import json
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.django_project.site import DjangoSite
from tests.servers import wait_until

_STATE = (
    "import json",
    "from celeriac.django.models import TaskRecord as R",
    "rows = R.objects.order_by('enqueued_at')",
    "told = [[r.status, r.return_value, len(r.worker_ids), [e[0] for e in r.errors]] for r in rows]",
    "print(json.dumps(told))",
)
_LOST = "celeriac.django.tasks.attempt.AttemptLost"
_RELAYED = pytest.param(
    "on", marks=pytest.mark.skipif(find_spec("celeriac.django.relay") is None, reason="there is no relay yet")
)


@pytest.fixture(params=["off", _RELAYED])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> DjangoSite:
    """With messages sent by the process that commits, and with the outbox."""
    site = DjangoSite(tmp_path, OUTBOX=request.param)
    site.manage("migrate", "-v", "0")
    return site


def states(site: DjangoSite) -> Any:
    """Status, return value, number of attempts and kinds of errors of each call."""
    return json.loads(site.shell(*_STATE))


def enqueue(site: DjangoSite, *calls: str) -> None:
    site.shell("from parcels import jobs", *(f"jobs.{call}" for call in calls))


def wait_finished(site: DjangoSite) -> None:
    def finished() -> bool:
        return all(status in ("SUCCESSFUL", "FAILED") for status, *_ in states(site))

    wait_until(finished, timeout=90, what="the tasks")


@pytest.mark.shows("beyond", "Django's Tasks framework")
def test_tasks_run_and_are_tried_again(site: DjangoSite) -> None:
    enqueue(site, "weigh.enqueue(21)", "flaky.enqueue(2)")
    with site.worker("-c", "1") as worker:
        wait_finished(site)
        assert "parcels.jobs.weigh" in worker.text
    assert states(site) == [
        ["SUCCESSFUL", 42, 1, []],
        ["SUCCESSFUL", "done", 3, ["builtins.ConnectionError"] * 2],
    ]
    assert site.lines("weighed") == ["21"]


def test_a_task_that_fails_for_good_has_an_error_for_each_attempt(site: DjangoSite) -> None:
    enqueue(site, "flaky.enqueue(9)")
    with site.worker("-c", "1"):
        wait_finished(site)
    assert states(site) == [["FAILED", None, 3, ["builtins.ConnectionError"] * 3]]


def test_a_worker_that_dies_has_its_attempt_counted(site: DjangoSite) -> None:
    enqueue(site, "kill_worker.enqueue()")
    with site.worker("-c", "1"):
        wait_finished(site)
    assert states(site) == [["SUCCESSFUL", 2, 2, [_LOST]]]


def test_a_node_that_dies_has_its_attempt_counted_by_the_next(site: DjangoSite) -> None:
    enqueue(site, "wait_for_go.enqueue()")
    with site.worker("-c", "1", name="first") as worker:
        wait_until(lambda: site.lines("started") == ["1"], timeout=40, what="the first attempt")
        worker.kill()
    (site.folder / "go").touch()
    with site.worker("-c", "1", name="second"):
        wait_finished(site)
    assert states(site) == [["SUCCESSFUL", 2, 2, [_LOST]]]


def test_a_task_that_always_kills_its_worker_has_failed_in_the_end(site: DjangoSite) -> None:
    enqueue(site, "always_kill_worker.enqueue()")
    with site.worker("-c", "1", CELERY_TRIES="2"):
        wait_finished(site)
    [[status, value, attempts, errors]] = states(site)
    assert (status, value, attempts) == ("FAILED", None, 2)
    assert errors == [_LOST, "billiard.exceptions.WorkerLostError"]


def test_a_task_over_its_hard_time_limit_has_failed(site: DjangoSite) -> None:
    enqueue(site, "wait_for_go.enqueue()")
    with site.worker("-c", "1", "--time-limit", "1"):
        wait_finished(site)
    assert states(site) == [["FAILED", None, 1, ["billiard.exceptions.TimeLimitExceeded"]]]


def test_effects_of_an_atomic_task_are_there_once_though_its_worker_died(site: DjangoSite) -> None:
    enqueue(site, "register.enqueue('anna')")
    with site.worker("-c", "1"):
        wait_finished(site)
    assert site.lines("registered") == ["1", "2"]
    assert states(site) == [["SUCCESSFUL", 1, 2, [_LOST]]]


_LEFT = (
    "from django.db import transaction",
    "from celery import current_app as app",
    "from celeriac.brokers.connect import open_broker",
    "from celeriac.django.models import OutboxMessage as M, TaskRecord as R",
    "from parcels import jobs",
    "def left():",
    "    broker = open_broker(app.conf.broker_url)",
    "    found = broker.stats(['celery'])['celery']",
    "    broker.close()",
    "    return R.objects.count(), M.objects.count(), found.ready + found.delayed",
)


def outcome(site: DjangoSite, *lines: str) -> list[str]:
    """How many records, messages in the outbox and messages at the broker there are, wherever asked."""
    return site.shell(*_LEFT, *lines).splitlines()


def test_a_call_and_its_record_are_committed_together(tmp_path: Path) -> None:
    site = DjangoSite(tmp_path)
    site.manage("migrate", "-v", "0")
    assert outcome(
        site,
        "with transaction.atomic():",
        "    jobs.weigh.enqueue(1)",
        "    print(*left())",
        "print(*left())",
    ) == ["1 1 0", "1 0 1"]


@pytest.mark.parametrize("outbox", ["on", "off"])
def test_a_call_that_is_rolled_back_leaves_nothing(tmp_path: Path, outbox: str) -> None:
    site = DjangoSite(tmp_path, OUTBOX=outbox)
    site.manage("migrate", "-v", "0")
    assert outcome(
        site,
        "with transaction.atomic():",
        "    jobs.weigh.enqueue(1)",
        "    transaction.set_rollback(True)",
        "print(*left())",
        "with transaction.atomic():",
        "    with transaction.atomic():",
        "        jobs.weigh.enqueue(1)",
        "        transaction.set_rollback(True)",
        "    jobs.weigh.enqueue(2)",
        "print(*left())",
    ) == ["0 0 0", "1 0 1"]
    with site.worker("-c", "1"):
        wait_finished(site)
    assert site.lines("weighed") == ["2"]


def test_a_call_runs_whose_process_was_killed_right_after_its_commit(tmp_path: Path) -> None:
    site = DjangoSite(tmp_path)
    site.manage("migrate", "-v", "0")
    site.manage(
        *("shell", "-v", "0", "-c"),
        "import os, signal\n"
        "from django.db import transaction\n"
        "from parcels import jobs\n"
        "with transaction.atomic():\n"
        "    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
        "    jobs.weigh.enqueue(3)",
        fails=True,
    )
    with site.worker("-c", "1"):
        wait_finished(site)
    assert states(site) == [["SUCCESSFUL", 6, 1, []]]
    assert site.lines("weighed") == ["3"]


def test_the_next_attempt_is_committed_with_the_failure(tmp_path: Path) -> None:
    """A worker whose attempt has failed keeps the next one in the transaction that says so."""
    site = DjangoSite(tmp_path)
    site.manage("migrate", "-v", "0")
    assert outcome(
        site,
        "from celeriac.django.tasks.attempt import run_attempt",
        "call = jobs.flaky.enqueue(9)",
        "print(*left())",
        "with transaction.atomic():",
        "    run_attempt(call.id, 0, 'here')",
        "    print(*left())",
        "    transaction.set_rollback(True)",
        "print(*left())",
    ) == ["1 0 1", "1 1 1", "1 0 1"]


def test_a_warm_shutdown_lets_the_attempt_finish(site: DjangoSite) -> None:
    enqueue(site, "wait_for_go.enqueue()")
    with site.worker("-c", "1") as worker:
        wait_until(lambda: site.lines("started") == ["1"], timeout=40, what="the attempt")
        worker.process.send_signal(signal.SIGTERM)
        (site.folder / "go").touch()
        worker.process.wait(30)
    assert states(site) == [["SUCCESSFUL", 1, 1, []]]
