"""Celery's tasks run in this process: what becomes of the message and of its result."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery import VERSION, Task, signals, states
from celery.app.trace import build_tracer
from celery.exceptions import NotRegistered, Reject

from celeriac import Celery
from celeriac.bridge.executor import CeleryJob
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.errors import MalformedMessage
from celeriac.core.executor import DONE, Bury, Release
from celeriac.core.lease import Lease
from celeriac.core.message import Message
from tests.unit.bridge.bench import HOST, Bench, hearing


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- How it ends


def test_success(bench: Bench) -> None:
    assert bench.run("add", 2, 3) == DONE
    assert (bench.result("add").state, bench.result("add").result) == (states.SUCCESS, 5)


def test_failure(bench: Bench) -> None:
    with hearing(signals.task_failure) as heard:
        assert bench.run("fail", "sorry") == DONE
    assert isinstance(bench.result("fail").result, ValueError)
    assert [told["task_id"] for told in heard] == [bench.id("fail")]


@pytest.mark.parametrize("acks_late", [True, False])
def test_wrong_arguments_are_the_tasks_failure(bench: Bench, *, acks_late: bool) -> None:
    bench.app.tasks["add"].acks_late = acks_late
    assert bench.run("add", 1) == DONE
    assert isinstance(bench.result("add").result, TypeError)


def test_a_failure_that_is_acknowledged_late_is_done(bench: Bench) -> None:
    assert bench.run("fail_late", "sorry") == DONE


def test_a_failure_that_is_not_acknowledged_is_buried(bench: Bench) -> None:
    outcome = bench.run("fail_unacked", "sorry")
    assert outcome == Bury("it failed, and its task does not acknowledge failures")
    assert bench.result("fail_unacked").state == states.FAILURE


@pytest.mark.parametrize(
    ("configuration", "buried"),
    [
        ({"task_acks_on_failure_or_timeout": False}, True),
        ({"task_acks_on_failure": False}, True),
        ({"task_acks_on_timeout": False}, False),
        ({"task_acks_on_failure_or_timeout": False, "task_acks_on_failure": True}, False),
    ],
    ids=str,
)
@pytest.mark.shows("setting", "task_acks_on_failure_or_timeout", "task_acks_on_failure", "task_acks_late")
@pytest.mark.shows("task option", "acks_on_failure_or_timeout")
def test_the_apps_settings_say_whether_failures_are_acknowledged(
    tmp_path: Path, configuration: dict[str, Any], *, buried: bool
) -> None:
    bench = Bench(tmp_path, **configuration)
    if not hasattr(Task, "acks_on_failure"):
        pytest.skip("this Celery has one setting for failures and timeouts")
    assert isinstance(bench.run("fail_late", "sorry"), Bury) is buried
    assert bench.run("fail", "sorry") == DONE


def test_a_retry_is_a_new_message_and_this_one_is_done(bench: Bench) -> None:
    before = time.time()
    assert bench.run("retry", "again") == DONE
    assert bench.result("retry").state == states.RETRY
    [waiting] = SqliteBroker(bench.path).scheduled(["celery"])
    assert before + 29 < waiting.due < time.time() + 31
    again = bench.executor.decode(Lease("2", "me", waiting.message))
    assert (again.id, again.delivered.headers["retries"]) == (bench.id("retry"), 1)


def test_no_more_retries_is_a_failure(bench: Bench) -> None:
    assert bench.run("retry", "again", retries=3) == DONE
    assert isinstance(bench.result("retry").result, ValueError)
    assert SqliteBroker(bench.path).scheduled(["celery"]) == []


def test_ignore_forgets(bench: Bench) -> None:
    assert bench.run("ignore") == DONE
    assert bench.result("ignore").state == states.PENDING


def test_rejected_to_be_run_again_it_goes_back(bench: Bench) -> None:
    outcome = bench.run("reject", True)
    assert isinstance(outcome, Release)
    assert bench.result("reject").state == states.PENDING
    lease = bench.lease("reject", True)
    back = msgspec.structs.replace(lease, message=Message(queue="celery", payload=outcome.payload or b""))
    first, again = bench.executor.decode(lease), bench.executor.decode(back)
    assert not first.request["delivery_info"]["redelivered"]
    assert again.request["delivery_info"]["redelivered"]
    assert (again.id, again.args, again.kwargs) == (first.id, first.args, first.kwargs)


def test_rejected_for_good_it_is_buried_and_its_result_is_a_failure(bench: Bench) -> None:
    with hearing(signals.task_failure) as heard:
        assert bench.run("reject", False) == Bury("rejected by its task: no good")
    assert bench.result("reject").state == states.FAILURE
    assert [(told["task_id"], type(told["exception"])) for told in heard] == [(bench.id("reject"), Reject)]


def test_a_task_that_is_acknowledged_before_it_runs_does_not_go_back_but_is_kept(bench: Bench) -> None:
    assert bench.run("reject_early", True) == DONE
    assert isinstance(bench.run("reject_early", False), Bury)


def test_over_its_soft_time_limit_it_is_interrupted(bench: Bench) -> None:
    assert bench.run("slow") == DONE
    assert bench.result("slow").result == "interrupted"


def test_the_messages_limits_win_over_the_tasks(bench: Bench) -> None:
    own = bench.executor.decode(bench.lease("slow"))
    assert (own.soft_time_limit, own.time_limit) == (0.05, None)
    asked = bench.executor.decode(bench.lease("slow", time_limit=7, soft_time_limit=3.5))
    assert (asked.soft_time_limit, asked.time_limit) == (3.5, 7)


@pytest.mark.parametrize("limits", [5, "soon", [1], [1, 2, 3], ["1", None], [None, [1]], {"a": 1, "b": 2}])
def test_limits_that_are_no_numbers_are_malformed(bench: Bench, limits: object) -> None:
    with pytest.raises(MalformedMessage, match="timelimit"):
        bench.executor.decode(bench.lease("add", headers={"timelimit": limits}))


# -- What a job is


def test_when_it_is_due(bench: Bench) -> None:
    eta = datetime(2030, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)
    assert bench.executor.decode(bench.lease("add", 1, 2)).due is None
    assert bench.executor.decode(bench.lease("add", 1, 2, eta=eta)).due == eta.timestamp()
    naive = bench.executor.decode(bench.lease("add", 1, 2, headers={"eta": "2030-01-02T03:04:05.5"}))
    assert naive.due == eta.timestamp()


@pytest.mark.parametrize("eta", ["soon", 5, ["2030-01-01"], {"at": 1}, "9999-99-99"])
def test_an_eta_that_is_no_time_is_malformed(bench: Bench, eta: object) -> None:
    with pytest.raises(MalformedMessage, match="is not a time"):
        bench.executor.decode(bench.lease("add", 1, 2, headers={"eta": eta}))


def test_what_must_not_start_twice(bench: Bench) -> None:
    assert bench.executor.decode(bench.lease("add", 1, 2)).at_most_once
    assert not bench.executor.decode(bench.lease("fail_late", "x")).at_most_once


@pytest.mark.parametrize("hold", [True, False])
def test_what_leaves_nothing_to_store(tmp_path: Path, *, hold: bool) -> None:
    bench = Bench(tmp_path, backend=f"sqlite:///{tmp_path}/results.db")
    executor = bench.make_executor(hold_results=hold)

    def ignored(name: str, **options: Any) -> bool:
        return executor.decode(bench.lease(name, **options)).result_ignored

    # Without holding, the tracer itself has stored everything when it returns.
    assert ignored("add") is not hold
    assert ignored("add", headers={"ignore_result": None}) is not hold
    assert ignored("add", ignore_result=True) is True
    assert ignored("quiet", headers={"ignore_result": None}) is True
    bench.app.tasks["quiet"].store_errors_even_if_ignored = True
    assert ignored("quiet", headers={"ignore_result": None}) is not hold


def test_results_are_held_until_they_are_flushed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    bench, onlooker = Bench(tmp_path, backend=url), Celery("o", backend=url, set_as_current=False)
    assert bench.run("add", 2, 3) == DONE
    assert onlooker.AsyncResult(bench.id("add")).state == states.PENDING
    bench.executor.flush()
    assert onlooker.AsyncResult(bench.id("add")).result == 5


def test_the_request_is_complete(bench: Bench) -> None:
    assert (
        bench.run(
            "whoami", 1, "two", deliveries=2, root_id="root", parent_id="parent", reply_to="me",
            headers={"tenant": "a"},
        )
        == DONE
    )  # fmt: skip
    [request] = bench.notes
    assert request["id"] == bench.id("whoami")
    assert (request["args"], request["kwargs"], request["retries"]) == ([1, "two"], {}, 0)
    assert (request["hostname"], request["reply_to"], request["tenant"]) == (HOST, "me", "a")
    assert (request["root_id"], request["parent_id"]) == ("root", "parent")
    assert request["correlation_id"] == bench.id("whoami")
    assert request["delivery_info"] == {
        "exchange": "",
        "routing_key": "celery",
        "priority": 4,
        "redelivered": True,
    }
    assert request["is_eager"] is False
    assert request["called_directly"] is False


def test_a_first_delivery_is_not_redelivered(bench: Bench) -> None:
    bench.run("whoami")
    assert bench.notes[0]["delivery_info"]["redelivered"] is False


def test_a_task_class_with_its_own_call(bench: Bench) -> None:
    assert bench.run("called", "x") == DONE
    assert bench.result("called").result == "<x>"


def test_a_task_that_was_traced_before_keeps_its_tracer(bench: Bench) -> None:
    task = bench.app.tasks["add"]
    task.__trace__ = build_tracer("add", task, app=bench.app)
    tracer = task.__trace__
    assert bench.run("add", 1, 1) == DONE
    assert task.__trace__ is tracer


def test_a_stranger_to_this_executor_is_refused(bench: Bench) -> None:
    with pytest.raises(TypeError, match="not a Celery job"):
        bench.executor.run("nonsense")  # type: ignore[arg-type]
    assert bench.executor.describe("nonsense") == b""  # type: ignore[arg-type]


# -- What is not run


def test_an_unknown_task_fails_and_is_told(bench: Bench) -> None:
    with hearing(signals.task_unknown) as heard, pytest.raises(MalformedMessage, match="unknown task 'gone'"):
        bench.executor.decode(bench.lease("gone"))
    assert isinstance(bench.result("gone").result, NotRegistered)
    [told] = heard
    assert (told["name"], told["id"], type(told["exc"])) == ("gone", bench.id("gone"), NotRegistered)
    assert told["message"].headers["task"] == "gone"


def test_an_unknown_task_whose_result_nobody_wants_stores_none(bench: Bench) -> None:
    with pytest.raises(MalformedMessage):
        bench.executor.decode(bench.lease("gone", ignore_result=True))
    assert bench.result("gone").state == states.PENDING


def test_an_unknown_task_whose_failure_goes_back_to_its_caller(tmp_path: Path) -> None:
    """The rpc backend must know whom to answer."""
    bench = Bench(tmp_path, backend="rpc://")
    with pytest.raises(MalformedMessage, match="unknown task"):
        bench.executor.decode(bench.lease("gone", reply_to="caller"))
    assert SqliteBroker(bench.path).stats(["caller"])["caller"].ready == 1


def test_an_expired_message_is_revoked(bench: Bench) -> None:
    long_ago = datetime.now(UTC) - timedelta(seconds=5)
    with hearing(signals.task_revoked, signals.task_received) as heard:
        assert bench.run("quiet", "ran", expires=long_ago, ignore_result=False) == DONE
    assert bench.notes == []
    # Celery 5.5 asks the task, and not the message, whether its errors are stored.
    assert bench.result("quiet").state == (states.REVOKED if VERSION >= (5, 6) else states.PENDING)
    assert [(told["signal"], told["expired"]) for told in heard] == [(signals.task_revoked, True)]


def test_a_message_that_expires_later_runs(bench: Bench) -> None:
    assert bench.run("quiet", "ran", expires=60) == DONE
    assert bench.notes == ["ran"]


def test_a_job_has_what_the_engine_asks_for(bench: Bench) -> None:
    job = bench.executor.decode(bench.lease("add", 1, 2))
    assert isinstance(job, CeleryJob)
    assert (job.id, job.name, job.due, job.time_limit, job.soft_time_limit) == (
        bench.id("add"),
        "add",
        None,
        None,
        None,
    )
