"""Settings of worker and tasks mean the same to Celery's worker and to Celeriac's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import celery
import pytest
from celery.exceptions import NotRegistered, TimeLimitExceeded
from redis import Redis

import celeriac
from tests.either import ENGINES, Either, start
from tests.monitor import monitor
from tests.servers import RedisServer, wait_until

OPTIONS, SIGNALS = "tests.apps.options", "tests.apps.signals"
Make = Callable[..., Either]


@pytest.fixture(params=ENGINES)
def make_either(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Make:
    """Makes one of the two workers, with settings of its own."""
    return lambda module, **conf: start(request.param, module, tmp_path, redis, conf)


@pytest.mark.shows("setting", "task_default_queue", "task_default_routing_key")
@pytest.mark.shows("setting", "worker_concurrency", "worker_send_task_events", "task_send_sent_event")
@pytest.mark.shows("setting", "event_exchange", "control_exchange", "timezone", "enable_utc", "imports")
@pytest.mark.shows("setting", "result_expires", "result_compression", "result_serializer", "task_annotations")
@pytest.mark.shows("setting", "task_inherit_parent_priority")
def test_many_settings_at_once(make_either: Make, redis: RedisServer) -> None:
    either = make_either(
        OPTIONS,
        task_default_queue="mine",
        task_default_exchange="mine",
        task_default_routing_key="mine",
        task_annotations={f"{OPTIONS}.nap": {"time_limit": 1}},
        task_track_started=True,
        task_send_sent_event=True,
        task_inherit_parent_priority=True,
        worker_concurrency=2,
        worker_pool="prefork",
        worker_send_task_events=True,
        event_exchange="news",
        event_queue_prefix="newsreader",
        control_exchange="orders",
        timezone="Asia/Tokyo",
        enable_utc=False,
        imports=["tests.apps.imported"],
        result_expires=4000,
        result_compression="gzip",
        result_serializer="msgpack",
    )
    with either.worker(), monitor(either.app) as heard:
        context = either.task("context").apply_async(countdown=0.3)
        told = context.get(timeout=20)
        assert told["delivery_info"]["routing_key"] == "mine"
        for kind in ("task-sent", "task-succeeded"):
            heard.wait_for(kind, context.id)
        # What the producer sends and what the worker sends come in any order.
        told_of = sorted(kind for kind in heard.kinds(context.id) if kind != "task-received")
        assert told_of == ["task-sent", "task-started", "task-succeeded"]
        with pytest.raises(TimeLimitExceeded):
            either.task("nap").delay(60).get(timeout=20)
        assert either.app.send_task("tests.apps.imported.hello", ("you",)).get(timeout=20) == "hello you"
        [stats] = either.app.control.inspect(timeout=10, limit=1).stats().values()
        assert stats["pool"]["max-concurrency"] == 2
        store = Redis.from_url(either.environment["RESULTS"])
        [key] = [key for key in store.scan_iter() if context.id.encode() in key]
        assert 3000 < store.ttl(key) <= 4000
        chained = either.task("add").s(1, 1).set(priority=6) | either.task("context").s()
        assert chained.apply_async().get(timeout=20)["delivery_info"]["priority"] == 6


@pytest.mark.shows(
    "setting", "worker_max_tasks_per_child", "worker_disable_rate_limits", "worker_enable_remote_control"
)
@pytest.mark.shows("setting", "task_ignore_result", "task_acks_late")
@pytest.mark.shows("setting", "task_reject_on_worker_lost", "task_store_errors_even_if_ignored")
@pytest.mark.shows("worker option", "--include", "--hostname")
def test_settings_that_switch_something_off(make_either: Make, tmp_path: Path) -> None:
    either = make_either(
        OPTIONS,
        worker_max_tasks_per_child=1,
        worker_disable_rate_limits=True,
        worker_enable_remote_control=False,
        worker_state_db=str(tmp_path / "state"),
        task_ignore_result=True,
        task_store_errors_even_if_ignored=True,
        task_default_rate_limit="1/h",
        task_acks_late=True,
        task_reject_on_worker_lost=True,
    )
    with either.worker("-c", "1", "-I", "tests.apps.imported") as process:
        for number in range(3):
            either.task("limited").delay(number)
        wait_until(lambda: either.ledger.count("limited") == 3)
        assert len({either.ledger.pid(str(number)) for number in range(3)}) == 3
        failed = either.task("fail").delay()
        wait_until(lambda: failed.backend.get_state(failed.id) == "FAILURE")
        good = either.app.send_task("tests.apps.imported.hello", ("you",))
        process.wait_log("hello you")
        assert good.backend.get_state(good.id) == "PENDING"
        either.task("dies").apply_async(("again",))
        wait_until(lambda: either.ledger.count("started", "again") >= 2)
        assert either.app.control.ping(timeout=0.3) == []


@pytest.mark.shows("setting", "worker_log_format", "worker_task_log_format", "worker_redirect_stdouts_level")
@pytest.mark.shows("setting", "worker_redirect_stdouts", "worker_hijack_root_logger")
@pytest.mark.shows("worker option", "--loglevel")
@pytest.mark.shows("log line", "lines of get_task_logger")
@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        (
            {
                "worker_log_format": "LOG %(levelname)s %(message)s",
                "worker_task_log_format": "TASK %(levelname)s %(task_name)s[%(task_id)s] %(message)s",
                "worker_redirect_stdouts_level": "ERROR",
                "worker_log_color": False,
            },
            [
                "LOG INFO Task tests.apps.signals.shout[ID] received",
                "TASK WARNING tests.apps.signals.shout[ID] logged hello",
                "LOG ERROR printed hello",
            ],
        ),
        (
            {
                "worker_redirect_stdouts": False,
                "worker_hijack_root_logger": False,
                "worker_task_log_format": "TASK %(message)s",
            },
            ["TASK logged hello", "printed hello"],
        ),
    ],
)
def test_what_the_log_looks_like(make_either: Make, conf: dict[str, Any], expected: list[str]) -> None:
    either = make_either(SIGNALS, **conf)
    with either.worker("-c", "1") as process:
        either.task("shout").delay("hello").get(timeout=20)
        assert process.stop() == 0
    said = [re.sub(r"[0-9a-f-]{36}", "ID", line) for line in process.text.splitlines()]
    for line in expected:
        assert line in said


@pytest.mark.shows("setting", "task_always_eager", "task_eager_propagates", "task_store_eager_result")
@pytest.mark.shows("task option", "apply")
@pytest.mark.parametrize("kind", [celery.Celery, celeriac.Celery])
def test_tasks_run_where_they_are_called(kind: Any) -> None:
    app = kind("eager", backend="cache+memory://", set_as_current=False)
    app.conf.update(task_always_eager=True, task_store_eager_result=True)

    @app.task(shared=False)
    def divide(x: int, y: int) -> float:
        return x / y

    assert divide.delay(4, 2).get() == 2
    assert divide.delay(1, 0).state == "FAILURE"
    app.conf.task_eager_propagates = True
    with pytest.raises(ZeroDivisionError):
        divide.delay(1, 0)
    assert divide.apply((9, 3)).get() == 3


@pytest.mark.shows("task option", "name")
def test_a_task_that_no_worker_knows_fails(make_either: Make) -> None:
    either = make_either(OPTIONS)
    with either.worker("-c", "1"), pytest.raises(NotRegistered):
        either.app.send_task("no.such.task").get(timeout=20)
