"""A running task is terminated by the signal that was asked for, with what that means in Celery."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError

from tests.either import Either
from tests.monitor import monitor
from tests.servers import wait_until

MODULE = "tests.apps.terminated"
WORKER = ("-c", "2", "-E")

REVOKED = (TaskRevokedError, "task-revoked")
#: The task, the signal, what the task does about it, its result and the last event.
CASES: list[tuple[str, str, list[str], Any]] = [
    ("hold", "SIGUSR1", ["cleaned up"], (SoftTimeLimitExceeded, "task-failed")),
    ("hold_late", "SIGUSR1", ["cleaned up"], (SoftTimeLimitExceeded, "task-failed")),
    ("catch", "SIGUSR1", ["caught SoftTimeLimitExceeded"], ("caught", "task-succeeded")),
    ("hold", "SIGTERM", ["cleaned up"], REVOKED),
    ("hold_late", "SIGTERM", ["cleaned up"], REVOKED),
    ("catch", "SIGTERM", [], REVOKED),
    ("hold", "SIGHUP", ["cleaned up"], REVOKED),
    ("hold", "SIGQUIT", ["cleaned up"], REVOKED),
    ("hold", "SIGUSR2", [], REVOKED),
    ("hold", "SIGKILL", [], REVOKED),
    ("hold_late", "SIGKILL", [], REVOKED),
    ("nap", "SIGINT", ["cleaned up"], ("done", "task-succeeded")),
    ("listen", "SIGUSR1", ["heard SIGUSR1"], ("heard", "task-succeeded")),
    ("listen", "SIGTERM", ["heard SIGTERM"], ("heard", "task-succeeded")),
    ("listen", "SIGUSR2", ["heard SIGUSR2"], ("heard", "task-succeeded")),
]


@pytest.mark.shows("control command", "revoke", "terminate")
@pytest.mark.shows("signal", "task_revoked")
@pytest.mark.parametrize(("task", "name", "does", "end"), CASES, ids=lambda value: str(value)[:12])
def test_a_task_gets_the_signal_it_is_terminated_with(
    either: Either, task: str, name: str, does: list[str], end: Any
) -> None:
    result, last = end
    with monitor(either.app) as news:
        running = either.task(task).delay(*((name,) if task == "listen" else ()))
        news.wait_for("task-started", running.id)
        wait_until(lambda: either.ledger.entries(running.id) == ["started"])
        others = [either.task("add").delay(number, 1) for number in range(20)]
        either.app.control.terminate(running.id, signal=name)
        news.wait_for("task-revoked", running.id)
        news.wait_for(last, running.id)
        assert [other.get(timeout=20) for other in others] == list(range(1, 21))
        revoked = news.of("task-revoked", running.id)
    wait_until(lambda: either.ledger.entries(running.id) == ["started", *does])
    stored = either.app.AsyncResult(running.id)  # whoever has waited has been told that it was revoked
    wait_until(
        lambda: stored.state == {"task-failed": "FAILURE", "task-succeeded": "SUCCESS"}.get(last, "REVOKED")
    )
    assert stored.result == result if isinstance(result, str) else isinstance(stored.result, result)
    [told] = [line for line in either.ledger.entries(f"{running.id} signals") if line.startswith("revoked")]
    assert told == f"revoked terminated=True signum={either.tasks.signum(name)!r} expired=False"
    assert [(one["terminated"], one["expired"]) for one in revoked] == [(True, False)]


@pytest.mark.shows("control command", "revoke")
def test_a_task_is_terminated_by_sigterm_unless_another_signal_is_asked_for(either: Either) -> None:
    running = either.task("hold").delay()
    wait_until(lambda: either.ledger.entries(running.id) == ["started"])
    before = set(either.process.shards())
    either.app.control.revoke(running.id, terminate=True)
    with pytest.raises(TaskRevokedError):
        running.get(timeout=20)
    wait_until(lambda: either.ledger.entries(running.id) == ["started", "cleaned up"])
    wait_until(lambda: len(set(either.process.shards()) - before) == 1, what="a process in its place")
    assert either.ledger.entries(f"{running.id} signals") == [
        "revoked terminated=True signum=<Signals.SIGTERM: 15> expired=False"
    ]


@pytest.mark.shows("control command", "terminate")
def test_a_terminated_task_is_not_run_again_by_the_worker_that_comes_next(either: Either) -> None:
    """Also one whose body has not yet ended, and is acknowledged late."""
    running = either.task("stubborn").delay()
    wait_until(lambda: either.ledger.entries(running.id) == ["started"])
    either.app.control.terminate(running.id)
    with pytest.raises(TaskRevokedError):
        running.get(timeout=20)
    wait_until(lambda: either.ledger.entries(running.id) == ["started", "stays"])
    either.app.control.terminate(running.id, signal="SIGKILL")
    assert either.task("add").delay(1, 2).get(timeout=20) == 3
    active = either.app.control.inspect(destination=[f"{either.engine}@test"], timeout=10).active()
    assert active == {f"{either.engine}@test": []}
