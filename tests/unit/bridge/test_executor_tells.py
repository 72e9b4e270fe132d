"""Who hears of a task that runs here or died elsewhere: logs, signals, remote control, result store."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from celery import VERSION, signals, states
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from kombu.exceptions import OperationalError

from celeriac.bridge.wire import decode
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.executor import DONE
from celeriac.core.lease import DeadLetter
from celeriac.core.message import Message
from tests.unit.bridge.bench import HOST, Bench, hearing


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_receivers_are_told_of_each_delivery(bench: Bench) -> None:
    with hearing(signals.task_received) as heard:
        assert bench.run("add", 1, 2, deliveries=3, time_limit=9) == DONE
    [told] = heard
    request = told["request"]
    assert (request.id, request.name, request.args, request.kwargs) == (bench.id("add"), "add", [1, 2], {})
    assert (request.hostname, request.time_limits) == (HOST, [9, None])
    assert request.delivery_info["redelivered"] is True
    assert request.task is bench.app.tasks["add"]
    request.acknowledge()  # harmless: the engine settles the message


def test_the_receipt_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "celery.worker.strategy")
    bench.make_executor().run(bench.executor.decode(bench.lease("add", 1, 2, shadow="other")))
    assert f"Task other[{bench.id('add')}] received" in caplog.text


def test_describes_what_runs(bench: Bench) -> None:
    job = bench.executor.decode(bench.lease("add", 1, "two"))
    job.started_at = 12.5
    told = json.loads(bench.executor.describe(job))
    assert (told["id"], told["name"], told["args"], told["hostname"]) == (
        bench.id("add"),
        "add",
        [1, "two"],
        HOST,
    )
    assert (told["time_start"], told["worker_pid"]) == (12.5, os.getpid())


def test_describes_arguments_that_json_does_not_know(tmp_path: Path) -> None:
    bench = Bench(tmp_path, accept_content=["json", "pickle"])
    job = bench.executor.decode(bench.lease("add", {1, 2}, complex(1, 2), serializer="pickle"))
    told = json.loads(bench.executor.describe(job))
    assert told["args"] == "({1, 2}, (1+2j))"


# -- What died


def test_a_lost_task_fails_for_whoever_waits(bench: Bench) -> None:
    with hearing(signals.task_failure) as heard:
        bench.executor.bury(bench.letter("add", 1, 2))
    assert isinstance(bench.result("add").result, WorkerLostError)
    assert [(told["task_id"], told["args"]) for told in heard] == [(bench.id("add"), [1, 2])]


def test_a_task_over_its_limit_fails_with_it(bench: Bench) -> None:
    bench.executor.bury(bench.letter("add", 1, 2, reason="it ran longer than its time limit", time_limit=7))
    error = bench.result("add").result
    assert isinstance(error, TimeLimitExceeded)
    assert "7" in str(error)


def test_a_lost_task_starts_its_errbacks(bench: Bench) -> None:
    bench.executor.bury(bench.letter("add", 1, 2, errbacks=[dict(bench.app.tasks["quiet"].s())]))
    assert SqliteBroker(bench.path).stats(["celery"])["celery"].ready == 1


def test_a_lost_task_that_asks_for_it_is_retried_so_many_times(bench: Bench) -> None:
    bench.app.tasks["retry"].retry_on_worker_lost = True
    assert bench.executor.retry_lost(bench.letter("retry", "text", retries=2)) is (VERSION >= (5, 7))
    if VERSION < (5, 7):
        return  # that option came with it
    [again] = SqliteBroker(bench.path).scheduled(["celery"])
    assert decode(again.message.payload, frozenset(["application/json"])).headers["retries"] == 3
    assert bench.result("retry").state == states.RETRY
    for letter in (
        bench.letter("retry", "text", retries=3),
        bench.letter("retry", "text", reason="it ran longer than its time limit"),
        bench.letter("add", 1, 2),
        bench.letter("gone"),
        bench.letter("retry", "text", headers={"expires": "never ever"}),
    ):
        assert not bench.executor.retry_lost(letter)
    assert len(SqliteBroker(bench.path).scheduled(["celery"])) == 1


@pytest.mark.parametrize("task", ["gone", "add"])
def test_what_nobody_can_wait_for_is_left_alone(bench: Bench, task: str) -> None:
    letter = bench.letter(task, ignore_result=True)
    bench.executor.bury(letter)
    # Celery 5.5 asks the task, and not the message, whether its errors are stored.
    stored = task == "add" and VERSION < (5, 6)
    assert bench.result(task).state == (states.FAILURE if stored else states.PENDING)
    nonsense = DeadLetter(
        id="1", message=Message(queue="q", payload=b"nonsense"), reason="r", died_at=0.0, deliveries=1
    )
    bench.executor.bury(nonsense)


def test_a_letter_that_cannot_be_made_a_request_of_harms_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs in the supervisor, which must not die of it."""
    bench.executor.bury(bench.letter("add", 1, 2, headers={"expires": "never ever"}))
    assert f"The failure of add[{bench.id('add')}] could not be stored" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("broker of the errback"),
        ConnectionError("store"),
        BrokerUnavailable("the result store does not answer: gone"),
    ],
)
def test_a_store_that_does_not_answer_is_tried_again_later(bench: Bench, error: Exception) -> None:
    class Backend(type(bench.app.backend)):  # type: ignore[misc]
        def exception_safe_to_retry(self, exc: BaseException) -> bool:
            return isinstance(exc, ConnectionError | BrokerUnavailable)

        def mark_as_failure(self, *args: Any, **kwargs: Any) -> None:
            raise error

    bench.app.backend.__class__ = Backend
    with pytest.raises(BrokerUnavailable) as caught:
        bench.executor.bury(bench.letter("add", 1, 2))
    assert str(caught.value).count("the result store does not answer: ") == 1
    with pytest.raises(BrokerUnavailable), hearing(signals.task_unknown) as heard:
        bench.executor.decode(bench.lease("gone"))
    assert heard == []  # it is told once its failure is stored
