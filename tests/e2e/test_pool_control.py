"""Remote control, events, limits and stops in the pools that run many tasks in one process."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from tests.e2e.test_control import NODE, Remote, states
from tests.monitor import monitor
from tests.servers import wait_until
from tests.stage import APP, Stage

NATIVE = "tests.apps.native"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """On one broker: no broker has a part in this."""
    return Stage(tmp_path, None)


@pytest.fixture(params=["threads", "asyncio"])
def pool(request: pytest.FixtureRequest) -> list[str]:
    """The worker's options that choose the pool, its name and the app's coroutines."""
    return ["-P", request.param, "-n", NODE, "-I", NATIVE]


@pytest.fixture
def remote(stage: Stage) -> Remote:
    return Remote(stage.app)


def sig(stage: Stage, task: str, *args: object) -> Any:
    return stage.app.signature(f"{NATIVE}.{task}", args=args)


@pytest.mark.shows("control command", "revoke", "terminate", "query_task")
def test_a_terminated_task_ends_alone(stage: Stage, remote: Remote, pool: list[str]) -> None:
    with monitor(stage.app) as news, stage.worker(*pool, "-c", "6", "-E") as worker:
        plain = sig(stage, "busy", "bad-plain", 60).delay()
        native = [sig(stage, task, f"bad-{task}", 60).delay() for task in ("effect", "early")]
        good = [stage.send("early", "good-plain", 4), sig(stage, "early", "good-native", 4).delay()]
        bad = {result.id for result in [plain, *native]}
        wait_until(lambda: remote.active() == bad | {result.id for result in good})
        shards = worker.shards()
        [(state, info)] = remote("query_task", ids=[plain.id]).values()
        assert (state, info["args"], info["worker_pid"]) == ("active", ["bad-plain", 60], shards[0])
        remote("terminate", signal="KILL", task_id=[plain.id])
        remote("revoke", task_id=[result.id for result in native], terminate=True)
        for result in [plain, *native]:
            wait_until(lambda result=result: result.state == "REVOKED")
        assert news.wait_for("task-revoked", plain.id)["signum"] == signal.SIGKILL
        assert news.wait_for("task-revoked", native[0].id)["signum"] == signal.SIGTERM
        wait_until(lambda: stage.ledger.count("ended", "bad-plain") == 1)
        assert [result.get(timeout=10) for result in good] == ["good-plain", "good-native"]
        assert worker.shards() == shards
        wait_until(lambda: states(stage) == (0, 0, 0, 0), what="an empty queue")
        assert worker.stop() == 0
        assert f"Terminating {plain.id} (9)" in worker.text
    assert stage.ledger.count("done", "bad-%") == 0
    assert not {"task-succeeded", "task-failed"} & {*news.kinds(plain.id), *news.kinds(native[0].id)}


@pytest.mark.shows("control command", "revoke", "revoked")
def test_a_revoked_task_does_not_start(stage: Stage, remote: Remote, pool: list[str]) -> None:
    with stage.worker(*pool, "-c", "2") as worker:
        remote("revoke", task_id=["plain", "native"])
        plain = stage.send("early", "plain", task_id="plain")
        native = sig(stage, "early", "native").apply_async(task_id="native")
        for result in (plain, native):
            wait_until(lambda result=result: result.state == "REVOKED")
        assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2
        assert worker.stop() == 0
    assert stage.ledger.count("started") == 0


@pytest.mark.shows("control command", "pool_grow", "pool_shrink", "stats")
def test_slots_are_added_and_taken_away(stage: Stage, remote: Remote, pool: list[str]) -> None:
    with stage.worker(*pool, "-c", "1") as worker:
        shards = worker.shards()
        for number in range(6):
            sig(stage, "early", f"native-{number}", 60).delay()
        wait_until(lambda: states(stage) == (5, 1, 0, 0))
        assert remote("pool_grow", n=3) == {"ok": "pool will grow"}
        wait_until(lambda: states(stage) == (2, 4, 0, 0))
        assert remote.pool()["max-concurrency"] == 4
        assert remote("pool_shrink", n=3) == {"ok": "pool will shrink"}
        wait_until(lambda: len(remote.active()) == 4)
        ids = sorted(remote.active())
        remote("revoke", task_id=ids[:3], terminate=True)
        wait_until(lambda: states(stage) == (2, 1, 0, 0))
        remote("revoke", task_id=ids[3:], terminate=True)
        wait_until(lambda: stage.ledger.count("started") == 5)
        assert states(stage) == (1, 1, 0, 0)
        assert "cannot shrink the pool by 1" in remote("pool_shrink", n=1)["error"]
        assert "at most 1000 at a time" in remote("pool_grow", n=1000)["error"]
        assert remote("stats")["total"] == {f"{NATIVE}.early": 5}
        assert worker.shards() == shards
        worker.kill_group()


@pytest.mark.shows("worker option", "--autoscale")
@pytest.mark.shows("control command", "autoscale")
def test_the_slots_follow_the_backlog(stage: Stage, remote: Remote, pool: list[str]) -> None:
    with stage.worker(*pool, "--autoscale", "6,0", AUTOSCALE_KEEPALIVE="1") as worker:
        assert remote.pool()["max-concurrency"] == 0
        for number in range(6):
            sig(stage, "meet", f"key-{number}", 6).delay()
        wait_until(lambda: remote.pool()["max-concurrency"] == 6, what="six slots")
        wait_until(lambda: states(stage) == (0, 0, 0, 0), what="all to have met")
        wait_until(lambda: remote.pool()["max-concurrency"] == 0, what="no slot", timeout=20)
        assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2
        assert remote("autoscale", max=4, min=2) == {"ok": "autoscale now max=4 min=2"}
        assert remote("stats")["autoscaler"]["min"] == 2
        assert len(worker.shards()) == 1
        assert worker.stop() == 0


@pytest.mark.shows("control command", "pool_restart")
@pytest.mark.shows("setting", "worker_pool_restarts")
def test_a_restart_takes_a_new_process(stage: Stage, remote: Remote, pool: list[str]) -> None:
    with stage.worker(*pool, "-c", "2", CONF=json.dumps({"worker_pool_restarts": True})) as worker:
        before = worker.shards()
        long = sig(stage, "early", "long", 3).delay()
        wait_until(lambda: remote.active() == {long.id})
        assert remote("pool_restart") == {"ok": "reload started"}
        wait_until(lambda: len(worker.shards()) == 2)
        assert stage.send("whoami").get(timeout=10)["pid"] not in before
        assert stage.ledger.count("done") == 0
        assert long.get(timeout=10) == "long"
        wait_until(lambda: len(worker.shards()) == 1)
        assert worker.stop() == 0


@pytest.mark.shows("control command", "add_consumer", "cancel_consumer", "active_queues")
def test_queues_are_added_and_cancelled(stage: Stage, remote: Remote, pool: list[str]) -> None:
    with stage.worker(*pool, "-c", "4") as worker:
        for number in range(20):
            stage.send("effect", f"extra-{number}", queue="extra")
        assert remote("add_consumer", queue="extra") == {"ok": "add consumer extra"}
        wait_until(lambda: len(stage.ledger.keys("done")) == 20)
        assert remote("cancel_consumer", queue="extra") == {"ok": "no longer consuming from extra"}
        assert [queue["name"] for queue in remote("active_queues")] == ["celery"]
        assert stage.send("add", 1, 1).get(timeout=10) == 2  # so that it has heard of it
        stage.send("effect", "too late", queue="extra")
        stage.send("effect", "last")
        wait_until(lambda: stage.ledger.count("done", "last") == 1)
        assert worker.stop() == 0
    assert stage.broker().stats(["extra"])["extra"].ready == 1


@pytest.mark.shows("control command", "time_limit", "rate_limit")
def test_limits_can_be_changed(stage: Stage, remote: Remote, pool: list[str]) -> None:
    with stage.worker(*pool, "-c", "3") as worker:
        task = f"{NATIVE}.early"
        remote("time_limit", task_name=task, hard=20, soft=0.3)
        assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2  # so that it has heard of it
        with pytest.raises(SoftTimeLimitExceeded):
            sig(stage, "early", "soft", 60).delay().get(timeout=10)
        remote("time_limit", task_name=task, hard=0.3, soft=None)
        assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2
        with pytest.raises(TimeLimitExceeded):
            sig(stage, "early", "hard", 60).delay().get(timeout=10)
        remote("rate_limit", task_name=f"{APP}.effect", rate_limit="5/s")
        for number in range(8):
            stage.send("effect", f"limited-{number}")
        wait_until(lambda: stage.ledger.count("done", "limited-%") == 8)
        times = stage.ledger.times("started", "limited-%")
        assert times[-1] - times[0] >= 7 / 5 * 0.9
        assert worker.stop() == 0


@pytest.mark.shows("worker option", "--time-limit", "--soft-time-limit")
def test_time_limits_of_the_worker(stage: Stage, pool: list[str]) -> None:
    with stage.worker(*pool, "-c", "4", "--time-limit", "1.5", "--soft-time-limit", "0.3") as worker:
        soft = [sig(stage, task, f"soft-{task}", 60) for task in ("effect", "busy")]
        for result in [one.delay() for one in soft]:
            with pytest.raises(SoftTimeLimitExceeded):
                result.get(timeout=10)
        hard = [one.apply_async(soft_time_limit=30) for one in soft]
        for result in hard:
            with pytest.raises(TimeLimitExceeded, match=r"1\.5"):
                result.get(timeout=10)
        assert worker.stop() == 0


@pytest.mark.shows("worker option", "-E")
def test_events_tell_the_story_of_each_task(stage: Stage, pool: list[str]) -> None:
    told = ["task-received", "task-started"]
    with monitor(stage.app) as news, stage.worker(*pool, "-c", "5", "-E") as worker:
        good = [sig(stage, "add", number, 1).delay().id for number in range(20)]
        good += [stage.send("add", number, 1).id for number in range(20)]
        fates = {
            sig(stage, "fail", "boom").delay().id: "task-failed",
            stage.send("fail", "boom").id: "task-failed",
            sig(stage, "slow_hard", "late").delay().id: "task-failed",
            **dict.fromkeys(good, "task-succeeded"),
        }
        long = sig(stage, "early", "long", 60).delay().id
        for id_, fate in fates.items():
            news.wait_for(fate, id_)
        news.wait_for("task-started", long)
        retried = sig(stage, "flaky", "retried", 1).delay().id
        news.wait_for("task-succeeded", retried)
        [answer] = stage.app.control.disable_events(reply=True, timeout=5)
        assert answer == {NODE: {"ok": "task events disabled"}}
        worker.kill_group()
    assert {id_: news.kinds(id_) for id_ in fates} == {id_: [*told, fate] for id_, fate in fates.items()}
    assert news.kinds(retried) == [*told, "task-retried", *told, "task-succeeded"]
    assert news.kinds(long) == told


@pytest.mark.shows("setting", "worker_soft_shutdown_timeout")
@pytest.mark.shows("shutdown", "soft")
def test_a_soft_shutdown_gives_running_tasks_some_time(stage: Stage, pool: list[str]) -> None:
    conf = json.dumps({"worker_soft_shutdown_timeout": 2})
    with stage.worker(*pool, "-c", "4", CONF=conf) as worker:
        for kind, seconds in (("short", 0.7), ("long", 60)):
            stage.send("effect", f"{kind}-plain", seconds)
            sig(stage, "effect", f"{kind}-native", seconds).delay()
        wait_until(lambda: stage.ledger.count("started") == 4)
        worker.signal(signal.SIGQUIT)
        assert worker.process.wait(timeout=15) == 0
    assert stage.ledger.keys("done") == {"short-plain", "short-native"}
    assert states(stage) == (2, 0, 0, 0)


@pytest.mark.shows("worker option", "--max-memory-per-child")
def test_a_process_that_held_too_much_memory_is_replaced(stage: Stage, pool: list[str]) -> None:
    with stage.worker(*pool, "-c", "2", "--max-memory-per-child", "300000") as worker:
        first = stage.send("fill", 1).get(timeout=10)
        long = stage.send("early", "long", 3)
        assert stage.send("fill", 300).get(timeout=10) == first
        wait_until(lambda: len(worker.shards()) == 2)
        assert stage.send("fill", 1).get(timeout=10) != first
        assert long.get(timeout=10) == "long"
        assert worker.stop() == 0
