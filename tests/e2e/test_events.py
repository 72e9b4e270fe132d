"""Monitors hear from an engine worker what they hear from Celery's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from celery.events.state import State

from tests.monitor import Event, monitor
from tests.servers import redis_server, wait_until
from tests.stage import APP, Stage
from tests.workers import worker

EITHER = "tests.apps.either"


def environment(stage: Stage, engine: str) -> dict[str, str]:
    return {
        "ENGINE": engine,
        "BROKER": stage.url,
        "RESULTS": stage.results,
        "LEDGER": str(stage.ledger.path),
        "KEY_PREFIX": stage.prefix,
    }


def told_by(stage: Stage, engine: str) -> dict[str, list[Event]]:
    """What is heard of one task of each fate, and of the worker from start to end, by what it is about."""
    heard: dict[str, list[Event]] = {}
    options = ("-c", "1", "-E", "-n", f"{engine}@test", "-Q", engine)
    log = stage.folder / f"{engine}.log"

    def send(task: str, *args: Any, **more: Any) -> str:
        return str(stage.app.send_task(f"{EITHER}.{task}", args, queue=engine, **more).id)

    with monitor(stage.app) as news:
        with worker(EITHER, *options, environment=environment(stage, engine), log=log) as process:
            tasks = {
                "succeeded": send("add", 1, 2, expires=60),
                "failed": send("fail", "boom"),
                "retried": send("again"),
                "rejected": send("reject"),
                "revoked": send("add", 1, 2, expires=-1),
                "ignored": send("ignore"),
            }
            news.wait_for("task-succeeded", tasks["retried"])
            tasks["terminated"] = send("sleep", 60)
            news.wait_for("task-started", tasks["terminated"])
            news.wait_for("worker-heartbeat")
            stage.app.control.terminate(tasks["terminated"], destination=[f"{engine}@test"])
            news.wait_for("task-revoked", tasks["terminated"])
            process.stop()
            news.wait_for("worker-offline")
        heard = {fate: [e for e in news.events if e.get("uuid") == id_] for fate, id_ in tasks.items()}
        heard["worker"] = [event for event in news.events if event["type"].startswith("worker-")]
    return heard


def shape(events: list[Event]) -> list[tuple[str, frozenset[str]]]:
    """Type and fields of each event; heartbeats, of which there may be any number, count once."""
    found = [(event["type"], frozenset(event)) for event in events]
    once = [one for number, one in enumerate(found) if one not in found[:number]]
    return sorted(once, key=str)


#: What two workers need not agree in, by the nature of things.
OWN = {"clock", "hostname", "local_received", "pid", "runtime", "timestamp", "traceback", "uuid"}
OWN |= {"root_id", "parent_id", "loadavg", "expires", "eta"}


def values(events: list[Event]) -> list[Mapping[str, Any]]:
    """The rest of each event, by type: a stock worker receives a retry before it is due."""
    by_type = sorted(events, key=lambda event: (event["type"], event.get("retries", 0)))
    return [{key: value for key, value in event.items() if key not in OWN} for event in by_type]


@pytest.mark.shows("worker option", "--task-events")
@pytest.mark.shows("task option", "send_event")
def test_the_events_are_those_of_a_stock_worker(redis_stage: Stage) -> None:
    stock = told_by(redis_stage, "stock")
    ours = told_by(redis_stage, "celeriac")
    assert {fate: shape(events) for fate, events in ours.items()} == {
        fate: shape(events) for fate, events in stock.items()
    }
    for fate in stock.keys() - {"worker"}:
        assert values(ours[fate]) == values(stock[fate]), fate
    for events in (stock["worker"], ours["worker"]):
        assert [events[0]["type"], events[-1]["type"]] == ["worker-online", "worker-offline"]
    assert all(event["freq"] == 2.0 and event["sw_ident"] == "py-celery" for event in ours["worker"])
    assert ours["worker"][-1]["processed"] == stock["worker"][-1]["processed"]


@pytest.mark.shows("control command", "enable_events", "disable_events")
def test_events_can_be_turned_on_and_off(stage: Stage) -> None:
    with monitor(stage.app) as news, stage.worker("-c", "1", "-n", "one@test") as worker:
        control = stage.app.control
        news.wait_for("worker-heartbeat")
        silent = stage.send("add", 1, 1)
        silent.get(timeout=10)
        [answer] = control.enable_events(reply=True, timeout=5, destination=["one@test"])
        assert answer == {"one@test": {"ok": "task events enabled"}}
        [answer] = control.enable_events(reply=True, timeout=5, destination=["one@test"])
        assert answer == {"one@test": {"ok": "task events already enabled"}}
        told = stage.send("add", 1, 2)
        assert news.wait_for("task-succeeded", told.id)["result"] == "3"
        os.kill(worker.shards()[0], signal.SIGKILL)  # its successor knows it too
        after = stage.send("add", 1, 3)
        news.wait_for("task-succeeded", after.id)
        control.disable_events(reply=True, timeout=5, destination=["one@test"])
        stage.send("add", 1, 4).get(timeout=10)
        last = stage.send("add", 1, 5)
        last.get(timeout=10)
        assert worker.stop() == 0
        news.wait_for("worker-offline")
        assert (news.kinds(silent.id), news.kinds(last.id)) == ([], [])


def test_events_tell_a_monitor_the_whole_story(stage: Stage) -> None:
    """What celery.events.state, which Flower builds on, makes of them."""
    with monitor(stage.app) as news, stage.worker("-c", "2", "-E", "-n", "one@test") as worker:
        results = [stage.send("add", number, 1) for number in range(200)]
        wait_until(lambda: len(news.of("task-succeeded")) == 200, what="200 successes")
        lost = stage.send("early_suicide", "lost")
        late = stage.send("slow_hard", "late")
        news.wait_for("task-failed", late.id)
        news.wait_for("task-failed", lost.id)
        assert worker.stop() == 0
        news.wait_for("worker-offline")
    state = State()
    for event in news.events:
        state.event(event)
    assert {state.tasks[result.id].state for result in results} == {"SUCCESS"}
    assert state.tasks[results[7].id].result == "8"
    assert "WorkerLostError" in state.tasks[lost.id].exception
    assert "TimeLimitExceeded" in state.tasks[late.id].exception
    assert state.tasks[late.id].name == f"{APP}.slow_hard"
    assert state.workers["one@test"].processed == 202
    clocks = [event["clock"] for event in news.events if event.get("uuid") == results[0].id]
    assert clocks == sorted(clocks)
    assert {event["pid"] for event in news.events} == {worker.pid}


def test_a_running_task_is_told_of_while_it_runs_and_silence_is_kept(stage: Stage) -> None:
    options = ("-c", "1", "-E", "--without-heartbeat", "--without-gossip", "--without-mingle")
    with monitor(stage.app) as news, stage.worker(*options) as worker:
        result = stage.send("early", "slow", 60)
        news.wait_for("task-started", result.id)
        worker.kill_group()
    assert not [event for event in news.events if event["type"].startswith("worker-")]


def test_events_come_back_after_the_broker_was_away(tmp_path: Path) -> None:
    with redis_server() as redis:
        stage = Stage(tmp_path, redis)
        with stage.worker("-c", "1", "-E", "-n", "one@test") as worker:
            with monitor(stage.app) as news:
                first = stage.send("add", 1, 2)
                news.wait_for("task-succeeded", first.id)
            redis.stop()
            worker.wait_log("Heartbeats cannot be sent")
            redis.start()
            with monitor(stage.app) as news:
                news.wait_for("worker-heartbeat")
                second = stage.send("add", 3, 4)
                assert news.wait_for("task-succeeded", second.id)["result"] == "7"
            assert worker.stop() == 0
