"""Real workers killed at awkward moments, judged by a ledger outside the system."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from celery.exceptions import WorkerLostError

from tests.servers import wait_until
from tests.stage import Stage


@pytest.mark.shows("beyond", "nothing is lost when worker processes are killed")
@pytest.mark.shows("task option", "acks_late")
@pytest.mark.parametrize("events", [(), ("-E",)], ids=["without events", "with events"])
def test_a_killed_shard_loses_nothing_and_is_replaced_at_once(stage: Stage, events: tuple[str, ...]) -> None:
    with stage.worker("-c", "2", *events) as worker:
        for number in range(40):
            stage.send("effect", f"task-{number}", 0.02)
        wait_until(lambda: stage.ledger.count("done") >= 5)
        victim = worker.shards()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(stage.ledger.keys("done")) == 40)
        wait_until(lambda: len(worker.shards()) == 2 and victim not in worker.shards())
        worker.wait_log("died of signal SIGKILL")
        assert worker.stop() == 0
    # Only what ran at the moment of the kill may have run twice.
    assert stage.ledger.count("done") <= 41


@pytest.mark.shows("beyond", "nothing is lost when worker processes are killed")
@pytest.mark.shows("setting", "engine_lease_seconds")
def test_a_killed_worker_loses_nothing(stage: Stage) -> None:
    with stage.worker("-c", "2", LEASE="1") as first:
        for number in range(60):
            stage.send("effect", f"task-{number}", 0.02)
        wait_until(lambda: stage.ledger.count("done") >= 5)
        first.kill_group()
        before = stage.ledger.count("done")
        assert before < 60
    with stage.worker("-c", "2", log="second.log", LEASE="1") as second:
        wait_until(lambda: len(stage.ledger.keys("done")) == 60)
        assert second.stop() == 0
    stats = stage.broker().stats(["celery"])["celery"]
    assert (stats.ready, stats.leased, stats.delayed, stats.dead) == (0, 0, 0, 0)


def test_a_killed_supervisor_lets_its_shards_finish(stage: Stage) -> None:
    with stage.worker("-c", "2", LEASE="1") as worker:
        stage.send("effect", "long", 2.5)
        wait_until(lambda: stage.ledger.count("started") == 1)
        shard = stage.ledger.pid("long")
        os.kill(worker.pid, signal.SIGKILL)
        with stage.worker("-c", "1", log="second.log", LEASE="1"):
            wait_until(lambda: stage.ledger.count("done") == 1)
            assert stage.ledger.pid("long") == shard
            wait_until(lambda: not Path(f"/proc/{shard}").exists(), what="the orphan's end")
        assert stage.ledger.count("started") == 1


def test_a_node_that_was_paused_past_its_lease_settles_nothing_and_works_on(redis_stage: Stage) -> None:
    """On Redis alone: who is paused while it writes to SQLite keeps all others from it."""
    stage = redis_stage
    with (
        stage.worker("-c", "1", "-n", "paused@test", LEASE="1") as paused,
        stage.worker("-c", "1", "-n", "other@test", log="other.log", LEASE="1") as other,
    ):
        os.killpg(other.pid, signal.SIGSTOP)
        stage.send("effect", "held", 1)
        wait_until(lambda: stage.ledger.count("started") == 1)
        os.killpg(paused.pid, signal.SIGSTOP)
        os.killpg(other.pid, signal.SIGCONT)
        wait_until(lambda: stage.ledger.count("done") == 1, what="the other node to take it over")
        os.killpg(paused.pid, signal.SIGCONT)
        paused.wait_log("had been taken back")
        os.killpg(other.pid, signal.SIGSTOP)
        stage.send("effect", "next")
        wait_until(lambda: stage.ledger.count("done", "next") == 1, what="the paused node to work on")
        os.killpg(other.pid, signal.SIGCONT)
        assert (paused.stop(), other.stop()) == (0, 0)
    # Its body could not be taken back, only the right to settle it.
    assert stage.ledger.count("started", "held") == stage.ledger.count("done", "held") == 2
    stats = stage.broker().stats(["celery"])["celery"]
    assert (stats.ready, stats.leased, stats.delayed, stats.dead) == (0, 0, 0, 0)


def test_a_started_task_without_acks_late_is_not_started_again(stage: Stage) -> None:
    with stage.worker("-c", "1") as worker:
        lost = stage.send("early_suicide", "fatal")
        stage.send("early", "after")
        wait_until(lambda: stage.ledger.count("done", "after") == 1)
        with pytest.raises(WorkerLostError, match="must not start twice"):
            lost.get(timeout=10)
        assert worker.stop() == 0
    assert stage.ledger.count("started", "fatal") == 1
    [letter] = stage.broker().dead_letters()
    assert "acks_late is off" in letter.reason


@pytest.mark.shows("setting", "engine_max_deliveries")
@pytest.mark.shows("beyond", "poison messages become dead letters")
def test_a_poison_task_is_buried_after_its_third_delivery_and_harms_no_other(stage: Stage) -> None:
    with stage.worker("-c", "1") as worker:
        poison = stage.send("suicide", "poison")
        for number in range(20):
            stage.send("effect", f"good-{number}")
        wait_until(lambda: len(stage.ledger.keys("done")) == 20)
        with pytest.raises(WorkerLostError, match="died 3 times"):
            poison.get(timeout=10)
        assert worker.stop() == 0
    assert stage.ledger.count("started", "poison") == 3
    assert stage.ledger.count("done") == 20
    [letter] = stage.broker().dead_letters()
    assert letter.deliveries == 3


def test_random_kills_of_shards_and_nodes_lose_nothing(stage: Stage) -> None:
    """A seeded slice; the ledger counts what was done, the limit what may have been done twice."""
    chance = random.Random(20261123)
    tasks, kills = 300, 0
    for number in range(tasks):
        stage.send("effect", f"task-{number}", 0.005)
    for life in range(4):
        with stage.worker("-c", "2", log=f"life-{life}.log", LEASE="1") as worker:
            goal = tasks * (life + 1) // 4
            while len(stage.ledger.keys("done")) < goal:
                reached = stage.ledger.count("done") + chance.randrange(5, 30)
                wait_until(
                    lambda reached=reached, goal=goal: (
                        stage.ledger.count("done") >= reached or len(stage.ledger.keys("done")) >= goal
                    )
                )
                shards = worker.shards()
                if shards and life < 3:
                    os.kill(chance.choice(shards), signal.SIGKILL)
                    kills += 1
            if life < 3:
                worker.kill_group()
                kills += 1
    assert len(stage.ledger.keys("done")) == tasks
    assert kills >= 6
    assert stage.broker().stats(["celery"])["celery"].dead == 0
