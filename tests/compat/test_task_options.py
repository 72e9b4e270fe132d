"""Every option of a task means the same to Celery's worker and to Celeriac's."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import VERSION, Celery, chord
from celery.exceptions import (
    MaxRetriesExceededError,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.result import AsyncResult

from tests.either import Either
from tests.monitor import monitor
from tests.servers import wait_until

MODULE = "tests.apps.options"
WORKER = ("-c", "2", "-E", "-Q", "celery,other")


def whats(either: Either, key: str) -> list[str]:
    """What is written in the ledger of this key, in order."""
    rows = either.ledger._all("SELECT what FROM entries WHERE key = ? ORDER BY rowid", key)
    return [str(row[0]) for row in rows]


# -- What a task is told


@pytest.mark.shows(
    "task option",
    "request",
    "bind",
    "headers",
    "shadow",
    "priority",
    "argsrepr",
    "kwargsrepr",
    "kwargs",
    "task_id",
)
@pytest.mark.shows("task option", "root_id", "parent_id", "retries", "group_id", "group_index")
def test_a_task_is_told_the_same_of_its_delivery(both: dict[str, Either]) -> None:
    told = {}
    for name, either in both.items():
        context = either.task("context")
        result = context.apply_async(
            (1, "two"),
            {"three": [4]},
            task_id="11111111-2222-3333-4444-555555555555",
            headers={"tenant": "acme"},
            shadow="alias",
            priority=5,
            argsrepr="(hidden)",
            kwargsrepr="{hidden}",
            time_limit=60,
            soft_time_limit=50,
            root_id="root",
            parent_id="parent",
            group_id="group",
            group_index=3,
        )
        told[name] = result.get(timeout=20)
        assert told[name].pop("hostname") == f"{name}@test"
        for changing in ("origin", "reply_to", "properties", "loglevel", "logfile"):
            told[name].pop(changing, None)
    assert told["celeriac"]["headers"] == {"tenant": "acme"}
    assert told["celeriac"]["delivery_info"]["priority"] == 5
    assert told["celeriac"] == told["celery"]


@pytest.mark.shows("task option", "serializer", "compression")
@pytest.mark.shows("setting", "accept_content")
@pytest.mark.parametrize(
    ("serializer", "value"),
    [
        ("json", {"a": [1, None, "é"]}),
        ("msgpack", {"a": [1, None, "é"]}),
        ("yaml", {"a": [1, None, "é"]}),
        ("pickle", (1, (2, "é"))),
    ],
)
@pytest.mark.parametrize("compression", [None, "gzip", "bzip2", "lzma"])
def test_serializers_and_compression(
    either: Either, serializer: str, value: Any, compression: str | None
) -> None:
    result = either.task("kind").apply_async((value,), serializer=serializer, compression=compression)
    assert result.get(timeout=20) == f"{type(value).__name__} {value!r}"


@pytest.mark.shows("task option", "serializer", "compression")
def test_serializer_and_compression_of_the_task_itself(either: Either) -> None:
    assert either.task("packed").delay({"a": [1, "é"]}).get(timeout=20) == {"a": [1, "é"]}


@pytest.mark.shows("setting", "task_protocol")
@pytest.mark.parametrize("protocol", [1, 2])
def test_both_message_protocols(either: Either, protocol: int) -> None:
    producer = Celery("old", broker=either.app.conf.broker_url, backend=either.app.conf.result_backend)
    producer.conf.update(
        task_protocol=protocol,
        broker_transport_options=either.app.conf.broker_transport_options,
        result_backend_transport_options=either.app.conf.result_backend_transport_options,
    )
    result = producer.send_task(f"{MODULE}.context", (1,), {"two": 2}, expires=60, task_id=None)
    told = result.get(timeout=20)
    assert (told["args"], told["kwargs"], told["id"]) == ([1], {"two": 2}, result.id)


@pytest.mark.shows("task option", "priority")
def test_the_priority_of_a_task_and_of_a_call(either: Either) -> None:
    urgent = either.task("urgent")
    assert urgent.delay().get(timeout=20) == 7
    assert urgent.apply_async(priority=2).get(timeout=20) == 2
    assert either.task("context").delay().get(timeout=20)["delivery_info"]["priority"] == 0


@pytest.mark.shows("task option", "queue")
@pytest.mark.shows("setting", "task_routes")
def test_where_a_task_goes(either: Either) -> None:
    routed = either.task("routed")
    assert routed.delay().get(timeout=20) == "other"
    assert routed.apply_async(queue="celery").get(timeout=20) == "celery"


@pytest.mark.shows("task option", "typing")
def test_arguments_are_checked_by_the_producer_or_by_the_worker(either: Either) -> None:
    with pytest.raises(TypeError):
        either.task("add").delay(1)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        either.task("untyped").delay().get(timeout=20)


@pytest.mark.shows("task option", "pydantic", "pydantic_strict")
def test_pydantic_models_as_arguments_and_result(either: Either) -> None:
    reprice = either.task("reprice")
    order = {"number": 2, "lines": ["a"]}
    assert reprice.delay(order, factor=3).get(timeout=20) == {"number": 6, "lines": ["a", "Order"]}
    with pytest.raises(Exception, match="ValidationError"):
        reprice.delay({"number": "x", "lines": []}).get(timeout=20)
    with pytest.raises(Exception, match="ValidationError"):
        either.task("reprice_strictly").delay({"number": "2", "lines": []}).get(timeout=20)


@pytest.mark.shows("task option", "eta", "countdown")
def test_a_task_waits_for_its_time(either: Either) -> None:
    due = datetime.now(UTC) + timedelta(seconds=0.5)
    late = [
        either.task("remember").apply_async((1, "eta"), eta=due),
        either.task("remember").apply_async((2, "eta"), countdown=0.5),
    ]
    for result in late:
        result.get(timeout=20)
    assert min(either.ledger.times("linked 1") + either.ledger.times("linked 2")) >= due.timestamp()


@pytest.mark.shows("task option", "expires")
def test_an_expired_task_is_not_run(either: Either) -> None:
    results = [
        either.task("remember").apply_async((1, "expired"), expires=datetime.now(UTC)),
        either.task("remember").apply_async((2, "expired"), expires=0.1, countdown=0.5),
        either.task("perishable").apply_async(countdown=0.1),
    ]
    for result in results:
        with pytest.raises(TaskRevokedError, match="expired"):
            result.get(timeout=20)
    assert either.task("remember").apply_async((3, "fresh"), expires=60).get(timeout=20) is None
    assert whats(either, "expired") == []


# -- Results


@pytest.mark.shows("task option", "ignore_result", "store_errors_even_if_ignored")
def test_results_are_stored_unless_ignored(either: Either) -> None:
    quiet = either.task("quiet")
    results = {
        "ignored by task": quiet.delay("a"),
        "ignored by call": either.task("add").apply_async((1, 2), ignore_result=True),
        "wanted by call": quiet.apply_async(("b",), ignore_result=False),
        "error": either.task("quiet_but_for_errors").delay("c"),
    }
    backend = either.app.backend
    wait_until(lambda: whats(either, "a") == ["ran"])
    for name in ("wanted by call", "error"):
        wait_until(lambda name=name: results[name].id and backend.get_state(results[name].id) != "PENDING")
    either.task("add").delay(1, 1).get(timeout=20)
    states = {name: backend.get_state(result.id) for name, result in results.items()}
    assert states == {
        "ignored by task": "PENDING",
        "ignored by call": "PENDING",
        "wanted by call": "SUCCESS",
        "error": "FAILURE",
    }


@pytest.mark.shows("task option", "track_started", "update_state")
def test_states_on_the_way(either: Either, tmp_path: Path) -> None:
    until = tmp_path / "go"
    tracked, progress = (either.task(name).delay(str(until)) for name in ("tracked", "progress"))
    wait_until(lambda: tracked.state == "STARTED" and progress.state == "HALFWAY")
    started, halfway = tracked.info, progress.info
    until.touch()
    assert started == {"pid": tracked.get(timeout=20), "hostname": f"{either.engine}@test"}
    assert halfway == {"done": 5}
    progress.get(timeout=20)


@pytest.mark.shows("setting", "result_extended")
@pytest.mark.shows("task option", "AsyncResult")
def test_extended_results_tell_the_same(both: dict[str, Either]) -> None:
    told = {}
    for name, either in both.items():
        good = either.task("autoretried").apply_async(("extended", 1), queue="other")
        good.get(timeout=20)
        bad = either.task("fail").apply_async(kwargs={"text": "extended"})
        bad.get(timeout=20, propagate=False)
        metas = [either.app.backend.get_task_meta(result.id, cache=False) for result in (good, bad)]
        told[name] = [
            {
                key: value
                for key, value in meta.items()
                if key not in ("task_id", "date_done", "worker", "parent_id")
            }
            for meta in metas
        ]
        assert {meta["worker"] for meta in metas} == {f"{name}@test"}
        assert told[name][1].pop("traceback").startswith("Traceback (most recent call last)")
        told[name][1]["result"] = repr(told[name][1]["result"])
    assert told["celeriac"] == told["celery"]


@pytest.mark.shows("task option", "trail", "add_trail", "delay")
def test_children_are_remembered_unless_told_otherwise(either: Either) -> None:
    parent, childless = either.task("parent").delay(), either.task("childless").delay()
    assert parent.get(timeout=20) == [child.id for child in parent.children]
    assert childless.get(timeout=20)
    assert not childless.children


@pytest.mark.shows("task option", "send_events", "send_event")
def test_events_of_a_task_can_be_switched_off(either: Either) -> None:
    with monitor(either.app) as heard:
        untold = either.task("untold").delay()
        untold.get(timeout=20)
        told = either.task("add").delay(1, 2)
        heard.wait_for("task-succeeded", told.id)
    assert heard.kinds(told.id) == ["task-received", "task-started", "task-succeeded"]
    assert heard.kinds(untold.id) == []


# -- Retries


@pytest.mark.shows("task option", "autoretry_for", "dont_autoretry_for", "retry_kwargs", "max_retries")
def test_exceptions_that_retry_by_themselves(either: Either) -> None:
    autoretried = either.task("autoretried")
    assert autoretried.delay("twice", 2).get(timeout=20) == 2
    with pytest.raises(ZeroDivisionError):
        autoretried.delay("too often", 9).get(timeout=20)
    with pytest.raises(OverflowError):
        autoretried.delay("excepted", 1, "OverflowError").get(timeout=20)
    assert [len(whats(either, key)) for key in ("twice", "too often", "excepted")] == [3, 3, 1]


@pytest.mark.shows("task option", "retry_backoff", "retry_backoff_max", "retry_jitter")
def test_retries_back_off(either: Either) -> None:
    assert either.task("backs_off").delay("backoff").get(timeout=20) == 1
    first, second = either.ledger.times("started", "backoff")
    assert second - first >= 0.9


@pytest.mark.shows("task option", "retry", "queue", "countdown", "args", "default_retry_delay")
def test_a_retry_may_change_the_call(either: Either) -> None:
    moved = either.task("moved").apply_async(("first",), {"queue": "other"}, headers={"tenant": "acme"})
    told = moved.get(timeout=20)
    assert (told["args"], told["queue"], told["id"]) == (["first"], "other", moved.id)
    changed = either.task("moved").delay("first", args=["second"], eta=None)
    assert changed.get(timeout=20)["args"] == ["second"]


@pytest.mark.shows("task option", "max_retries", "exc")
def test_retries_come_to_an_end(either: Either) -> None:
    with pytest.raises(MaxRetriesExceededError):
        either.task("gives_up").delay(exc=False).get(timeout=20)
    with pytest.raises(LookupError, match="out of luck"):
        either.task("gives_up").delay(exc=True).get(timeout=20)


# -- Failures and acknowledgements


@pytest.mark.shows(
    "task option", "base", "before_start", "on_success", "on_failure", "on_retry", "after_return"
)
def test_handlers_of_a_custom_task_class(either: Either) -> None:
    hooked = either.task("hooked")
    assert hooked.delay("fine", "succeed").get(timeout=20) >= 1
    hooked.delay("bad", "fail").get(timeout=20, propagate=False)
    hooked.delay("again", "retry").get(timeout=20)
    wait_until(lambda: len(whats(either, "again")) == 7)
    assert whats(either, "fine")[0:2] == ["before_start", "run"]
    assert [what.split()[0] for what in whats(either, "fine")[2:]] == ["on_success", "after_return"]
    assert whats(either, "bad") == [
        "before_start",
        "run",
        "on_failure ValueError ExceptionInfo",
        "after_return FAILURE",
    ]
    # With no time between them, the second run may begin before the first has returned.
    assert sorted(whats(either, "again")) == [
        "after_return SUCCESS",
        *("before_start", "before_start", "on_retry KeyError", "on_success 1", "run", "run"),
    ]


@pytest.mark.shows("task option", "throws")
def test_an_expected_exception_is_no_error_of_the_log(either: Either) -> None:
    with pytest.raises(LookupError):
        either.task("expected").delay().get(timeout=20)
    either.process.wait_log("raised expected: LookupError('as usual')")
    [line] = [line for line in either.process.text.splitlines() if "raised expected" in line]
    assert ": INFO/" in line


@pytest.mark.shows("task option", "acks_late")
def test_a_rejected_task_runs_again_if_it_asks_for_it(either: Either) -> None:
    reject = either.task("reject")
    assert reject.delay("requeued", requeue=True).get(timeout=20) == "in the end"
    rejected = reject.delay("rejected", requeue=False)
    with pytest.raises(Exception, match="not now"):
        rejected.get(timeout=20)
    assert rejected.state == "FAILURE"
    assert [len(whats(either, key)) for key in ("requeued", "rejected")] == [2, 1]


@pytest.mark.shows("task option", "update_state")
def test_an_ignored_task_keeps_the_state_it_had(either: Either) -> None:
    ignored = either.task("ignore").delay("ignored")
    either.process.wait_log(f"{MODULE}.ignore[{ignored.id}] ignored")
    assert ignored.state == "MINE"


@pytest.mark.shows("task option", "acks_on_failure")
def test_a_failure_that_is_not_acked_is_not_run_again(either: Either) -> None:
    with pytest.raises(ValueError, match="unacked"):
        either.task("unacked_failure").delay("unacked").get(timeout=20)
    either.task("add").delay(1, 2).get(timeout=20)
    assert whats(either, "unacked") == ["started"]


@pytest.mark.shows("task option", "reject_on_worker_lost", "acks_late")
def test_a_task_whose_process_was_lost_runs_again(either: Either) -> None:
    assert either.task("dies_once").delay("dies once").get(timeout=30) is True
    assert whats(either, "dies once") == ["started", "started"]


@pytest.mark.shows("task option", "acks_late")
def test_a_task_that_was_acked_early_is_lost_with_its_process(either: Either) -> None:
    with pytest.raises(WorkerLostError):
        either.task("dies").delay("dies").get(timeout=30)
    assert whats(either, "dies") == ["started"]


@pytest.mark.skipif(VERSION < (5, 7), reason="retry_on_worker_lost came with Celery 5.7")
@pytest.mark.shows("task option", "retry_on_worker_lost", "on_retry")
@pytest.mark.parametrize("task", ["dies_and_is_retried", "dies_late_and_is_retried"])
def test_a_task_whose_process_was_lost_is_retried(either: Either, task: str) -> None:
    assert either.task(task).delay(f"{task} once", 1).get(timeout=30) == 1
    with pytest.raises(WorkerLostError):
        either.task(task).delay(f"{task} twice", 2).get(timeout=30)
    for key in ("once", "twice"):
        assert whats(either, f"{task} {key}").count("started") == 2
        assert whats(either, f"{task} {key}").count("on_retry WorkerLostError") == 1


# -- Limits


@pytest.mark.shows("task option", "soft_time_limit", "time_limit")
def test_time_limits_of_task_and_call(either: Either) -> None:
    caught = either.task("soft").delay("soft")
    uncaught = either.task("nap").apply_async((60,), soft_time_limit=1)
    assert caught.get(timeout=20) == "in time"
    with pytest.raises(SoftTimeLimitExceeded):
        uncaught.get(timeout=20)
    killed = [either.task("hard").delay("hard"), either.task("nap").apply_async((60,), time_limit=1)]
    for result in killed:
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=20)


@pytest.mark.shows("task option", "time_limit", "on_failure", "after_return")
def test_handlers_are_called_for_a_task_over_its_hard_limit(either: Either) -> None:
    with pytest.raises(TimeLimitExceeded):
        either.task("hooked_and_slow").delay("slow").get(timeout=20)
    wait_until(lambda: len(whats(either, "slow")) == 3)
    assert whats(either, "slow") == [
        "before_start",
        "on_failure TimeLimitExceeded ExceptionInfo",
        "after_return FAILURE",
    ]


@pytest.mark.shows("task option", "rate_limit")
def test_the_rate_limit_of_a_task(either: Either) -> None:
    begun = time.time()
    for number in range(8):
        either.task("limited").delay(number)
    wait_until(lambda: either.ledger.count("limited") == 8)
    assert either.ledger.times("limited")[-1] - begun >= 6 / 5


# -- Canvas


@pytest.mark.shows("task option", "link", "link_error")
@pytest.mark.shows("canvas", "link", "link_error", "on_error")
def test_callbacks_and_errbacks(either: Either) -> None:
    remember, errback, old = (either.task(name) for name in ("remember", "errback", "old_errback"))
    either.task("add").apply_async((1, 2), link=[remember.s("link one"), remember.s("link two")])
    failed = either.task("fail").apply_async(("linked",), link_error=errback.s("link error"))
    either.task("fail").s("older").on_error(old.si("some id", "link old")).apply_async()
    wait_until(lambda: all(whats(either, f"link {key}") for key in ("one", "two", "error", "old")))
    assert whats(either, "link one") == whats(either, "link two") == ["linked 3"]
    assert whats(either, "link error") == [f"errback ValueError {failed.id}"]


@pytest.mark.shows("task option", "replace", "add_to_chord")
@pytest.mark.shows("canvas", "replace", "add_to_chord", "chord", "chain", "group")
def test_tasks_that_change_their_own_canvas(either: Either) -> None:
    replaced, add, total = (either.task(name) for name in ("replaced", "add", "total"))
    assert (replaced.s(1) | add.s(100)).apply_async().get(timeout=20) == 112
    joined = chord([either.task("joins_its_chord").s(1), add.s(1, 1)], total.s(), app=either.app)
    assert joined.apply_async().get(timeout=20) == 1 + 2 + 101


@pytest.mark.shows("task option", "chunks", "map", "starmap", "s", "si", "signature")
@pytest.mark.shows("canvas", "chunks", "map", "starmap", "signature")
def test_chunks_map_and_starmap(either: Either) -> None:
    add, total = either.task("add"), either.task("total")
    pairs = [(number, number) for number in range(6)]
    assert add.chunks(pairs, 4).apply_async().get(timeout=20) == [[0, 2, 4, 6], [8, 10]]
    assert total.map([[1, 2], [3, 4]]).apply_async().get(timeout=20) == [3, 7]
    assert add.starmap(pairs[:2]).apply_async().get(timeout=20) == [0, 2]
    assert add.si(1, 2).apply_async().get(timeout=20) == 3


@pytest.mark.shows("canvas", "stamp")
@pytest.mark.shows("task option", "stamped_headers")
def test_stamps_travel_with_every_part(either: Either) -> None:
    context = either.task("context")
    canvas = either.task("add").s(1, 1) | context.s()
    canvas.stamp(tenant="acme")
    told = canvas.apply_async().get(timeout=20)
    assert (told["stamps"], told["stamped_headers"]) == ({"tenant": "acme"}, ["tenant"])


@pytest.mark.shows("task option", "root_id", "parent_id")
def test_parts_of_a_chain_know_where_they_come_from(either: Either) -> None:
    context, add = either.task("context"), either.task("add")
    result = (add.s(1, 1) | add.s(1) | context.s()).apply_async()
    told = result.get(timeout=20)
    first: AsyncResult = result.parent.parent
    assert (told["root_id"], told["parent_id"]) == (first.id, result.parent.id)
