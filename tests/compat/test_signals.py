"""Signals come at the same moments, from the same senders, with the same arguments as in Celery."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import celery
import pytest
from celery import signals

from tests.either import ENGINES, Either, start
from tests.servers import RedisServer, wait_until

MODULE = "tests.apps.signals"
Heard = tuple[str, str, dict[str, str]]

#: In a shard there is no consumer; what Celery's consumer and its requests send comes from the executor.
SENDERS = {"CeleryExecutor": "Consumer", "EngineConsumer": "Consumer", "EnginePool": "AsynPool"}
#: Celeriac decodes without kombu's Message; NotRegistered is a KeyError.
TYPES = {"Delivered": "Message", "NotRegistered": "KeyError"}
#: Sent by a pool's processes, which are not in step with their worker.
IN_PROCESSES = ("worker_process_init", "worker_process_shutdown")


def heard(either: Either, key: str) -> list[Heard]:
    """The signals that were sent of this task, or of the worker, in their order."""
    rows = either.ledger._all("SELECT what FROM entries WHERE key = ? ORDER BY rowid", key)
    found = [json.loads(str(row[0])) for row in rows]
    return [
        (name, SENDERS.get(sender, sender), {key: TYPES.get(kind, kind) for key, kind in facts.items()})
        for name, sender, facts in found
    ]


def names(either: Either, key: str) -> list[str]:
    return [name for name, _, _ in heard(either, key)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Any:
    """What both workers signalled, of each of their tasks, and of themselves."""
    folder = tmp_path_factory.mktemp("signals")
    return {engine: live(start(engine, MODULE, folder, redis)) for engine in ENGINES}


#: Whoever listens to ``setup_logging`` sets up logging instead of Celery; a test of its own does.
NOT_HEARD = {"setup_logging", "heartbeat_sent"}
#: What a receiver of ``setup_logging`` is told.
SETUP = {"loglevel": "int", "logfile": "NoneType", "format": "str", "colorize": "bool"}


def publish(either: Either, **headers: Any) -> SimpleNamespace:
    """Publish a message that no app would send; return its id as a result has it."""
    headers = {"id": str(uuid4()), **headers}
    producer = celery.Celery("raw", broker=either.app.conf.broker_url)
    producer.conf.broker_transport_options = either.app.conf.broker_transport_options
    with producer.connection_for_write() as connection:
        connection.Producer().publish([[], {}, {}], headers=headers, routing_key="celery", serializer="json")
    return SimpleNamespace(id=headers["id"])


CASES: dict[str, Callable[[Either], Any]] = {
    "success": lambda either: either.task("add").delay(1, 2),
    "failure": lambda either: either.task("fail").delay(),
    "expected failure": lambda either: either.task("expected").delay(),
    "retry": lambda either: either.task("again").delay(),
    "rejected": lambda either: either.task("reject").delay(),
    "ignored": lambda either: either.task("ignore").delay(),
    "unknown": lambda either: either.app.send_task("no.such.task"),
    "no task": lambda either: publish(either),
    "invalid": lambda either: publish(either, task=f"{MODULE}.add", eta="tomorrow"),
    "expired": lambda either: either.task("add").apply_async((1, 2), expires=-1),
    "revoked": lambda either: either.task("add").apply_async((1, 2), task_id="revoked"),
    "soft limit": lambda either: either.task("soft").delay(),
    "hard limit": lambda either: either.task("hard").delay(),
    "lost": lambda either: either.task("die").delay(),
}
LAST = {
    "success": "task_postrun",
    "retry": "task_success",
    "ignored": "task_postrun",
    "unknown": "task_unknown",
    "no task": "task_rejected",
    "invalid": "task_rejected",
    "expired": "task_revoked",
    "revoked": "task_revoked",
}


def live(either: Either) -> dict[str, list[Heard]]:
    """Let a worker start, run every case, and stop; return what it has signalled, by case."""
    ids: dict[str, str] = {}
    either.environment["LISTENS"] = " ".join({*signals.__all__} - NOT_HEARD)
    with either.worker("-c", "1") as process:
        either.app.control.revoke("revoked", reply=True, timeout=10, limit=1)
        for case, send in CASES.items():
            ids[case] = send(either).id
            last = LAST.get(case, "task_failure")
            wait_until(lambda id_=ids[case], last=last: last in names(either, id_), what=f"{last} of {case}")
        either.task("add").delay(1, 1).get(timeout=20)  # the process that follows the last that died
        assert process.stop() == 0
    return {case: heard(either, id_) for case, id_ in {**ids, "worker": "worker"}.items()}


@pytest.mark.shows("signal", "task_received", "task_prerun", "task_postrun", "task_success", "task_failure")
@pytest.mark.shows("signal", "task_retry", "task_unknown", "task_revoked", "task_rejected")
@pytest.mark.shows("signal", "before_task_publish", "after_task_publish")
@pytest.mark.parametrize("case", CASES)
def test_signals_of_a_task(both: dict[str, dict[str, list[Heard]]], case: str) -> None:
    ours, stock = both["celeriac"][case], both["celery"][case]
    assert ours
    if case == "hard limit":  # Celery tells of it twice, and more of the process if that is slow to die
        assert [name for name, _, _ in ours] == ["task_received", "task_prerun", "task_failure"]
        stock = [signal for signal in ours if signal[0] in {name for name, _, _ in stock}]
    if case == "retry":  # Celery receives it when it was sent, Celeriac when it is due
        assert sorted(map(str, ours)) == sorted(map(str, stock))
        ours, stock = ([one for one in told if one[0] != "task_received"] for told in (ours, stock))
    assert ours == stock


@pytest.mark.shows("signal", "celeryd_init", "celeryd_after_setup", "worker_init", "worker_ready")
@pytest.mark.shows("signal", "worker_before_create_process", "worker_process_init", "worker_process_shutdown")
@pytest.mark.shows("signal", "worker_shutting_down", "worker_shutdown", "after_setup_logger")
@pytest.mark.shows("signal", "after_setup_task_logger")
def test_signals_of_the_worker(both: dict[str, dict[str, list[Heard]]]) -> None:
    ours, stock = both["celeriac"]["worker"], both["celery"]["worker"]
    assert [one for one in ours if one[0] not in IN_PROCESSES] == [
        one for one in stock if one[0] not in IN_PROCESSES
    ]
    for name in IN_PROCESSES:
        assert {str(one) for one in ours if one[0] == name} == {str(one) for one in stock if one[0] == name}
    assert [name for name, _, _ in ours].count("worker_process_init") == 3
    assert [name for name, _, _ in ours][-2:] == ["worker_process_shutdown", "worker_shutdown"]


@pytest.fixture
def either(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Either:
    return start(request.param, MODULE, tmp_path, redis)


@pytest.mark.shows("signal", "heartbeat_sent", "setup_logging", "beat_init", "beat_embedded_init")
@pytest.mark.shows("worker option", "--heartbeat-interval", "--beat", "--schedule-filename")
@pytest.mark.parametrize("either", ENGINES, indirect=True)
def test_signals_of_heart_beat_and_logging(either: Either) -> None:
    either.environment["LISTENS"] = "setup_logging heartbeat_sent beat_init beat_embedded_init"
    schedule = str(either.folder / "schedule")
    with either.worker("-c", "1", "-B", "-s", schedule, "--heartbeat-interval", "1", ready=False) as process:
        wait_until(lambda: names(either, "worker").count("heartbeat_sent") >= 2)
        wait_until(lambda: "beat_embedded_init" in names(either, "worker"))
        assert process.stop() == 0
    found = {str(one) for one in heard(either, "worker")}
    assert found == {
        str(one)
        for one in [
            ("setup_logging", "NoneType", SETUP),
            ("heartbeat_sent", "Heart", {}),
            ("beat_init", "Service", {}),
            ("beat_embedded_init", "Service", {}),
        ]
    }
    assert " ready." not in process.text  # nobody has set up logging
