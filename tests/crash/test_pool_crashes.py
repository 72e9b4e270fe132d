"""Processes that run several tasks at a time, killed while they do."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from celery.exceptions import WorkerLostError

from tests.servers import wait_until
from tests.stage import Stage

NATIVE = "tests.apps.native"
EACH_POOL = pytest.mark.parametrize("pool", ["threads", "asyncio"])


def sig(stage: Stage, task: str, *args: object) -> Any:
    return stage.app.signature(f"{NATIVE}.{task}", args=args)


def counts(stage: Stage) -> tuple[int, int, int, int]:
    stats = stage.broker().stats(["celery"])["celery"]
    return stats.ready, stats.leased, stats.delayed, stats.dead


@EACH_POOL
def test_a_killed_process_gives_back_what_may_run_again_and_buries_the_rest(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "8", "-I", NATIVE) as worker:
        for number in range(3):
            sig(stage, "effect", f"again-native-{number}", 2).delay()
        stage.send("effect", "again-plain", 2)
        once = [sig(stage, "early", "once-native", 2).delay(), stage.send("early", "once-plain", 2)]
        wait_until(lambda: stage.ledger.count("started") == 6)
        [victim] = worker.shards()
        os.kill(victim, signal.SIGKILL)
        for result in once:
            with pytest.raises(WorkerLostError, match="must not start twice"):
                result.get(timeout=10)
        wait_until(lambda: stage.ledger.count("done", "again-%") == 4)
        assert victim not in worker.shards()
        assert worker.stop() == 0
    assert (stage.ledger.count("started", "again-%"), stage.ledger.count("started", "once-%")) == (8, 2)
    assert counts(stage) == (0, 0, 0, 2)


@EACH_POOL
def test_kills_lose_nothing_of_many_tasks(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "5", "-I", NATIVE) as worker:
        for number in range(60):
            sig(stage, "effect", f"native-{number}", 0.02).delay()
            stage.send("effect", f"plain-{number}", 0.02)
        for goal in (20, 50, 80):
            wait_until(lambda goal=goal: len(stage.ledger.keys("done")) >= goal and worker.shards())
            os.kill(worker.shards()[0], signal.SIGKILL)
        wait_until(lambda: len(stage.ledger.keys("done")) == 120)
        assert worker.stop() == 0
    assert counts(stage) == (0, 0, 0, 0)
    assert stage.ledger.count("done") <= 120 + 3 * 5


@EACH_POOL
def test_a_poison_task_is_buried_and_those_beside_it_are_not(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "4", "-I", NATIVE) as worker:
        for number in range(3):
            sig(stage, "effect", f"good-{number}", 0.5).delay()
        wait_until(lambda: stage.ledger.count("started", "good-%") == 3)
        poison = stage.send("suicide", "poison")
        with pytest.raises(WorkerLostError, match="died 3 times"):
            poison.get(timeout=20)
        wait_until(lambda: stage.ledger.keys("done") == {"good-0", "good-1", "good-2"})
        assert worker.stop() == 0
    assert stage.ledger.count("started", "poison") == 3
    assert counts(stage) == (0, 0, 0, 1)


@EACH_POOL
def test_a_killed_supervisor_lets_all_that_runs_finish(stage: Stage, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "4", "-I", NATIVE, LEASE="1") as worker:
        sig(stage, "effect", "native", 2.5).delay()
        stage.send("effect", "plain", 2.5)
        wait_until(lambda: stage.ledger.count("started") == 2)
        shard = stage.ledger.pid("native")
        os.kill(worker.pid, signal.SIGKILL)
        with stage.worker("-c", "1", log="second.log", LEASE="1"):
            wait_until(lambda: stage.ledger.count("done") == 2)
        assert {stage.ledger.pid("native"), stage.ledger.pid("plain")} == {shard}
    assert stage.ledger.count("started") == 2
