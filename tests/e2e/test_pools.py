"""The pools ``threads`` and ``asyncio``: N tasks at a time in one process, with limits and all stops."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from celery import group
from celery.exceptions import TimeLimitExceeded

from tests.servers import wait_until
from tests.stage import Stage
from tests.workers import WorkerProcess

NATIVE = "tests.apps.native"
EACH_POOL = pytest.mark.parametrize("pool", ["threads", "asyncio"])


def sig(stage: Stage, task: str, *args: object, **options: object) -> Any:
    return stage.app.signature(f"{NATIVE}.{task}", args=args, **options)


def counts(stage: Stage) -> tuple[int, int, int, int]:
    stats = stage.broker().stats(["celery"])["celery"]
    return stats.ready, stats.leased, stats.delayed, stats.dead


@EACH_POOL
@pytest.mark.shows("worker option", "-P", "-c")
def test_plain_tasks_run_side_by_side_in_one_process(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "6", "-I", NATIVE) as worker:
        keys = [f"key-{number}" for number in range(6)]
        met = group(sig(stage, "meet", key, 6) for key in keys)()
        assert met.get(timeout=20) == keys
        assert len(worker.shards()) == 1
        assert worker.stop() == 0
    assert counts(stage) == (0, 0, 0, 0)


@pytest.mark.parametrize(("pool", "at_a_time"), [("threads", 6), ("asyncio", 200)])
@pytest.mark.shows("beyond", "async def tasks", "-P asyncio")
def test_coroutines_run_side_by_side_each_with_its_own_request(
    stage: Stage, pool: str, at_a_time: int
) -> None:
    with stage.worker("-P", pool, "-c", f"{at_a_time}", "-I", NATIVE) as worker:
        sent = {f"key-{n}": sig(stage, "identity", f"key-{n}", at_a_time) for n in range(at_a_time)}
        results = {key: signature.delay() for key, signature in sent.items()}
        found = {key: result.get(timeout=20) for key, result in results.items()}
        for key, result in results.items():
            me = result.id
            assert found[key][:8] == [me, me, me, me, key, me, me, key]
        threads = {(pid, thread) for *_, pid, thread in found.values()}
        assert len(threads) == (1 if pool == "asyncio" else at_a_time)
        assert worker.stop() == 0
    assert counts(stage) == (0, 0, 0, 0)


def test_plain_tasks_and_coroutines_share_the_slots_of_asyncio(stage: Stage) -> None:
    with stage.worker("-P", "asyncio", "-c", "6", "-I", NATIVE) as worker:
        plain = [sig(stage, "meet", f"plain-{number}", 6).delay() for number in range(3)]
        native = [sig(stage, "identity", f"native-{number}", 6).delay() for number in range(3)]
        assert [result.get(timeout=20) for result in plain] == ["plain-0", "plain-1", "plain-2"]
        assert [result.get(timeout=20)[0] for result in native] == [result.id for result in native]
        assert worker.stop() == 0


@EACH_POOL
def test_no_more_than_the_free_slots_are_claimed(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "4", "-I", NATIVE) as worker:
        for number in range(10):
            sig(stage, "effect", f"long-{number}", 60).delay()
        wait_until(lambda: stage.ledger.count("started") == 4)
        wait_until(lambda: counts(stage) == (6, 4, 0, 0))
        with stage.worker("-P", pool, "-c", "6", "-I", NATIVE, log="second.log"):
            wait_until(lambda: counts(stage) == (0, 10, 0, 0))
        worker.signal(signal.SIGQUIT)
        worker.process.wait(timeout=20)


def test_many_quick_tasks_run_once_each(stage: Stage) -> None:
    with stage.worker("-P", "asyncio", "-c", "20", "-I", NATIVE) as worker:
        results = [sig(stage, "add", number, 1).delay() for number in range(400)]
        assert [result.get(timeout=30) for result in results] == [number + 1 for number in range(400)]
        assert worker.stop() == 0
        assert worker.text.count(f"Task {NATIVE}.add") == 2 * 400
    assert counts(stage) == (0, 0, 0, 0)


@EACH_POOL
@pytest.mark.shows("shutdown", "warm")
def test_warm_shutdown_waits_for_all_that_runs(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "4", "-I", NATIVE) as worker:
        for number in range(3):
            sig(stage, "early", f"native-{number}", 1).delay()
        stage.send("early", "plain", 1)
        for number in range(5):
            stage.send("effect", f"later-{number}")
        wait_until(lambda: stage.ledger.count("started") >= 4)
        assert worker.stop() == 0
    done = stage.ledger.count("done")
    assert done == stage.ledger.count("started")
    assert counts(stage) == (9 - done, 0, 0, 0)


@EACH_POOL
@pytest.mark.shows("shutdown", "cold")
def test_cold_shutdown_gives_back_or_buries_what_ran(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "4", "-I", NATIVE) as worker:
        for task in ("effect", "early"):
            sig(stage, task, f"native-{task}", 60).delay()
            stage.send(task, f"plain-{task}", 60)
        wait_until(lambda: stage.ledger.count("started") == 4)
        worker.signal(signal.SIGTERM)
        worker.wait_log("Warm shutdown")
        worker.signal(signal.SIGTERM)
        assert worker.process.wait(timeout=10) == 0
    assert counts(stage) == (2, 0, 0, 2)


@EACH_POOL
@pytest.mark.shows("control command", "active", "stats")
def test_remote_control_lists_all_that_runs(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "8", "-n", "one@test", "-I", NATIVE) as worker:
        inspect = stage.app.control.inspect(timeout=5, destination=["one@test"])
        sent = {sig(stage, "early", f"native-{number}", 60).delay().id for number in range(3)}
        sent |= {stage.send("early", f"plain-{number}", 60).id for number in range(3)}

        def listed() -> set[str]:
            return {request["id"] for request in inspect.active()["one@test"]}

        wait_until(lambda: listed() == sent)
        pool_stats = inspect.stats()["one@test"]["pool"]
        assert (pool_stats["implementation"], pool_stats["max-concurrency"]) == (f"celeriac:{pool}", 8)
        worker.signal(signal.SIGQUIT)
        worker.process.wait(timeout=20)


@EACH_POOL
@pytest.mark.shows("task option", "soft_time_limit")
def test_soft_time_limits(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "4", "-I", NATIVE) as worker:
        native, plain = sig(stage, "slow_soft", "native").delay(), sig(stage, "busy_soft", "plain").delay()
        assert (native.get(timeout=10), plain.get(timeout=10)) == ("interrupted", "interrupted")
        assert "Soft time limit (0.3s) exceeded" in worker.text
        assert worker.stop() == 0
    assert counts(stage) == (0, 0, 0, 0)


def survives(stage: Stage, worker: WorkerProcess, *overdue: str) -> None:
    """Run the overdue tasks beside one that is not, which must end as if nothing had happened."""
    beside = stage.send("early", "beside", 3)
    for task in overdue:
        with pytest.raises(TimeLimitExceeded):
            sig(stage, task, task).delay().get(timeout=10)
    assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2
    assert beside.get(timeout=10) == "beside"
    assert {letter.reason for letter in stage.broker().dead_letters()} == {
        "it ran longer than its time limit"
    }
    wait_until(lambda: counts(stage) == (0, 0, 0, len(overdue)))


@EACH_POOL
@pytest.mark.shows("task option", "time_limit")
def test_what_is_over_its_hard_time_limit_ends_alone(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "3", "-I", NATIVE) as worker:
        wait_until(worker.shards)
        shards = worker.shards()
        survives(stage, worker, "slow_hard", "busy_hard")
        wait_until(lambda: stage.ledger.count("ended", "busy_hard") == 1)
        assert worker.shards() == shards
        assert worker.stop() == 0


@pytest.mark.parametrize(
    ("pool", "task"), [("threads", "sleeps"), ("asyncio", "sleeps"), ("asyncio", "deaf")]
)
def test_what_does_not_end_has_its_process_replaced(stage: Stage, pool: str, task: str) -> None:
    with stage.worker("-P", pool, "-c", "3", "-I", NATIVE) as worker:
        wait_until(worker.shards)
        shards = worker.shards()
        survives(stage, worker, task)
        wait_until(lambda: len(worker.shards()) == 1 and worker.shards() != shards)
        assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2
        assert worker.stop() == 0
    assert stage.ledger.count("started", task) == 1


@pytest.mark.shows("worker option", "-P solo")
def test_solo_ends_what_is_over_its_hard_time_limit(stage: Stage) -> None:
    with stage.worker("-P", "solo", "--time-limit", "1", "-I", NATIVE) as worker:
        late = [stage.send("effect", "plain", 60), sig(stage, "effect", "native", 60).delay()]
        late += [sig(stage, task, task).delay() for task in ("slow_hard", "busy_hard")]
        for result in late:
            with pytest.raises(TimeLimitExceeded):
                result.get(timeout=10)
        soft = [sig(stage, "slow_soft", "soft").delay(), sig(stage, "busy_soft", "soft").delay()]
        assert [result.get(timeout=10) for result in soft] == ["interrupted"] * 2
        assert stage.ledger.count("ended", "busy_hard") == 1
        assert stage.send("add", 1, 1).get(timeout=10) == 2
        assert worker.stop() == 0
    assert counts(stage) == (0, 0, 0, 4)


@EACH_POOL
@pytest.mark.shows("worker option", "--max-tasks-per-child")
def test_max_tasks_per_child(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "2", "--max-tasks-per-child", "4", "-I", NATIVE) as worker:
        long = stage.send("early", "long", 3)
        pids = [stage.send("whoami").get(timeout=10)["pid"] for _ in range(7)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 4]
        assert stage.ledger.count("done") == 0
        assert long.get(timeout=10) == "long"
        assert worker.stop() == 0
    assert counts(stage) == (0, 0, 0, 0)


@pytest.mark.parametrize("name", ["asyncio", "celeriac.bridge.pools:AsyncioPool"])
@pytest.mark.shows("setting", "worker_pool")
def test_the_setting_worker_pool_may_name_asyncio(stage: Stage, name: str) -> None:
    with stage.worker("-c", "3", "-n", "one@test", "-I", NATIVE, POOL=name) as worker:
        stats = stage.app.control.inspect(timeout=5, destination=["one@test"]).stats()
        assert stats["one@test"]["pool"]["implementation"] == "celeriac:asyncio"
        assert "concurrency: 3 (asyncio)" in worker.text
        assert worker.stop() == 0


def test_what_asyncio_cannot_do_stops_start_up_in_one_line(stage: Stage) -> None:
    with stage.worker("-P", "asyncio", "--pool-start-method", "spawn", ready=False) as worker:
        assert worker.process.wait(timeout=20) == 2
    assert "-P asyncio needs Celeriac's engine" in worker.text
    assert "Traceback" not in worker.text


def test_names_of_pools_are_checked(stage: Stage) -> None:
    with stage.worker("-P", "asynci", ready=False) as worker:
        assert worker.process.wait(timeout=20) == 2
    assert "'asynci' is not one of" in worker.text
