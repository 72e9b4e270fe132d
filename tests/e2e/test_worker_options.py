"""Every option of Celery's worker means to the engine what it means to Celery."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.utils.nodenames import worker_direct
from celery.worker import state
from kombu import Exchange, Queue

from tests.servers import wait_until
from tests.stage import APP, Stage
from tests.workers import ROOT, worker

FALLBACK = "Celery's stock worker runs here"
ORDERED = {"engine_queue_order": "ordered"}


@pytest.fixture
def one_stage(tmp_path: Path) -> Stage:
    """A stage on one broker, for what no broker has a part in."""
    return Stage(tmp_path, None)


def environment(stage: Stage, **conf: Any) -> dict[str, str]:
    return {
        "BROKER": stage.url,
        "RESULTS": stage.results,
        "LEDGER": str(stage.ledger.path),
        "KEY_PREFIX": stage.prefix,
        "CONF": json.dumps(conf),
    }


@pytest.mark.shows("worker option", "--time-limit", "--soft-time-limit")
def test_time_limits_of_the_worker_hold_for_tasks_without_their_own(stage: Stage) -> None:
    with stage.worker("-c", "2", "--time-limit", "1.5", "--soft-time-limit", "0.3") as process:
        with pytest.raises(SoftTimeLimitExceeded):
            stage.send("effect", "soft", 60).get(timeout=10)
        assert stage.send("effect", "own", 0.6, soft_time_limit=30).get(timeout=10) == "own"
        with pytest.raises(TimeLimitExceeded, match=r"1\.5"):
            stage.send("effect", "hard", 60, soft_time_limit=30).get(timeout=10)
        assert process.stop() == 0
        assert FALLBACK not in process.text


@pytest.mark.shows("setting", "task_time_limit", "task_soft_time_limit")
def test_time_limits_of_the_settings(one_stage: Stage) -> None:
    conf = json.dumps({"task_soft_time_limit": 0.3, "task_time_limit": 20})
    with one_stage.worker("-c", "1", CONF=conf), pytest.raises(SoftTimeLimitExceeded):
        one_stage.send("effect", "soft", 60).get(timeout=10)


@pytest.mark.shows("worker option", "--max-memory-per-child")
def test_a_shard_that_held_too_much_memory_is_replaced_after_its_task(one_stage: Stage) -> None:
    with one_stage.worker("-c", "1", "--max-memory-per-child", "250000") as process:
        first = one_stage.send("fill", 1).get(timeout=10)
        assert one_stage.send("fill", 1).get(timeout=10) == first
        assert one_stage.send("fill", 260).get(timeout=10) == first
        second = one_stage.send("fill", 1).get(timeout=10)
        assert second != first
        assert one_stage.send("fill", 1).get(timeout=10) == second
        assert process.stop() == 0
        assert FALLBACK not in process.text


@pytest.mark.shows("worker option", "--statedb")
@pytest.mark.shows("control command", "revoked")
def test_revoked_tasks_are_remembered_in_the_state_database(one_stage: Stage) -> None:
    database = one_stage.folder / "state"
    revoked = one_stage.send("effect", "revoked")
    state.reset_state()
    state.revoked.add(revoked.id)
    state.Persistent(state, str(database)).save()
    state.reset_state()
    for life in ("first", "second"):
        options = ["-c", "1", "-n", "one@test", "--statedb", str(database)]
        with one_stage.worker(*options, log=f"{life}.log") as process:
            inspect = one_stage.app.control.inspect(timeout=5, destination=["one@test"])
            assert inspect.revoked() == {"one@test": [revoked.id]}
            assert one_stage.send("effect", life).get(timeout=10) == life
            assert process.stop() == 0
            assert FALLBACK not in process.text
    assert revoked.state == "REVOKED"
    assert one_stage.ledger.count("started", "revoked") == 0


@pytest.mark.shows("worker option", "--beat", "--schedule-filename")
@pytest.mark.shows("setting", "beat_schedule", "beat_max_loop_interval")
def test_embedded_beat_sends_what_is_due_and_ends_with_its_worker(one_stage: Stage) -> None:
    schedule = {"often": {"task": f"{APP}.effect", "schedule": 0.2, "args": ["beat"]}}
    conf = json.dumps({"beat_schedule": schedule, "beat_max_loop_interval": 0.2})
    options = ["-c", "1", "-B", "-s", str(one_stage.folder / "schedule")]
    with one_stage.worker(*options, CONF=conf) as process:
        wait_until(lambda: one_stage.ledger.count("done", "beat") >= 3)
        assert process.stop() == 0
        assert FALLBACK not in process.text
        assert "beat: Starting" in process.text
    assert list(one_stage.folder.glob("schedule*"))
    with one_stage.worker(*options, CONF=conf, log="killed.log") as process:
        beat = process.shards()
        process.process.kill()
        process.process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in beat), what="its children to end")


@pytest.mark.shows("worker option", "--pidfile", "--logfile", "--hostname", "--concurrency")
def test_pid_file_and_a_log_file_for_each_process(one_stage: Stage) -> None:
    pid_file = one_stage.folder / "%n.pid"
    options = ["-c", "2", "-n", "one@test", "--pidfile", str(pid_file)]
    conf = json.dumps({"worker_hijack_root_logger": True})
    log = f"{one_stage.folder}/%n-%i.log"
    with one_stage.worker(*options, "-f", log, ready=False, CONF=conf) as process:
        logs = [one_stage.folder / f"one-{index}.log" for index in range(3)]
        wait_until(lambda: logs[0].exists() and " ready." in logs[0].read_text())
        assert int((one_stage.folder / "one.pid").read_text()) == process.pid
        for number in range(20):
            one_stage.send("effect", f"task-{number}", 0.05)
        wait_until(lambda: one_stage.ledger.count("done") == 20)
        assert process.stop() == 0
    assert not (one_stage.folder / "one.pid").exists()
    assert all("succeeded in" in log.read_text() for log in logs[1:])


@pytest.mark.shows("worker option", "--purge")
def test_purge_drops_what_waits(stage: Stage) -> None:
    for number in range(5):
        stage.send("effect", f"old-{number}", countdown=1 if number else None)
    with stage.worker("-c", "1", "--purge") as process:
        assert "Erased 5 messages from the queue" in process.text
        assert stage.send("effect", "new").get(timeout=10) == "new"
        assert process.stop() == 0
    assert stage.ledger.keys("done") == {"new"}


@pytest.mark.shows("worker option", "--optimization", "--prefetch-multiplier", "--without-gossip")
@pytest.mark.shows("worker option", "--without-mingle", "--without-heartbeat", "--heartbeat-interval")
def test_options_without_a_meaning_here_are_accepted(one_stage: Stage) -> None:
    options = ["-O", "fair", "--prefetch-multiplier", "8"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--heartbeat-interval", "5"]
    with one_stage.worker("-c", "1", *options) as process:
        assert one_stage.send("add", 1, 2).get(timeout=10) == 3
        assert process.stop() == 0
        assert FALLBACK not in process.text


@pytest.mark.shows("setting", "worker_direct")
def test_a_queue_of_the_workers_own(stage: Stage) -> None:
    with stage.worker("-c", "1", "-n", "one@test", CONF=json.dumps({"worker_direct": True})) as process:
        result = stage.send("add", 1, 2, queue=worker_direct("one@test"))
        assert result.get(timeout=10) == 3
        assert stage.send("add", 1, 3).get(timeout=10) == 4
        assert process.stop() == 0


@pytest.mark.shows("worker option", "--exclude-queues")
def test_excluded_queues_are_left_alone(stage: Stage) -> None:
    log = stage.folder / "worker.log"
    with worker("tests.apps.queues", "-X", "mail,images", environment=environment(stage), log=log):
        stage.send("effect", "kept", queue="mail")
        assert stage.send("effect", "done").get(timeout=10) == "done"
    assert stage.broker().stats(["mail"])["mail"].ready == 1
    assert stage.ledger.keys("done") == {"done"}


@pytest.mark.shows("setting", "task_queues")
@pytest.mark.shows("task option", "exchange", "routing_key")
def test_queues_of_several_exchanges_and_bindings(stage: Stage) -> None:
    log = stage.folder / "worker.log"
    with worker("tests.apps.queues", "-c", "1", environment=environment(stage), log=log) as process:
        stage.app.conf.task_queues = [Queue("images", Exchange("media", type="topic"), "image.*")]
        stage.send("effect", "image", queue="images", routing_key="image.png")
        stage.send("effect", "letter", exchange=Exchange("mail", type="direct"), routing_key="letters")
        wait_until(lambda: stage.ledger.count("done", "image") == 2, what="both bindings to match")
        wait_until(lambda: stage.ledger.count("done", "letter") == 1)
        assert process.stop() == 0
        assert FALLBACK not in process.text


@pytest.mark.shows("setting", "task_create_missing_queues")
@pytest.mark.shows("worker option", "--queues")
def test_a_queue_that_may_not_be_made_stops_start_up(one_stage: Stage) -> None:
    log = one_stage.folder / "worker.log"
    options = ["-Q", "celery,other"]
    with worker(
        "tests.apps.queues", *options, environment=environment(one_stage), log=log, ready=False
    ) as process:
        assert process.process.wait(timeout=20) != 0
        assert "isn't\ndefined in the `task_queues` setting" in process.text


def celery(stage: Stage, *arguments: str) -> None:
    """Run a celery command to its end."""
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment(stage)},
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.shows("worker option", "--detach", "--pidfile", "--logfile")
def test_a_detached_worker(one_stage: Stage) -> None:
    pid_file, log = one_stage.folder / "worker.pid", one_stage.folder / "worker.log"
    celery(one_stage, "worker", "-c", "1", "-l", "info", "-D", "--pidfile", str(pid_file), "-f", str(log))
    wait_until(lambda: log.exists() and " ready." in log.read_text())
    pid = int(pid_file.read_text())
    try:
        assert one_stage.send("add", 1, 2).get(timeout=10) == 3
        assert FALLBACK not in log.read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the worker to end")
    assert not pid_file.exists()


@pytest.mark.shows("beyond", "celery multi")
def test_celery_multi(one_stage: Stage) -> None:
    files = [f"--pidfile={one_stage.folder}/%n.pid", f"--logfile={one_stage.folder}/%n.log"]
    names = ["one@test", "two@test"]
    celery(one_stage, "multi", "start", *names, "-c", "1", "-l", "info", *files)
    try:
        wait_until(lambda: len(one_stage.app.control.ping(timeout=1)) == 2, what="two workers")
        assert one_stage.send("add", 1, 2).get(timeout=10) == 3
    finally:
        celery(one_stage, "multi", "stopwait", *names, *files)
    assert not list(one_stage.folder.glob("*.pid"))
    assert all(FALLBACK not in log.read_text() for log in one_stage.folder.glob("*.log"))


SOFT = json.dumps({"worker_soft_shutdown_timeout": 1.5})


@pytest.mark.shows("setting", "worker_soft_shutdown_timeout")
@pytest.mark.shows("shutdown", "soft")
def test_a_soft_shutdown_gives_running_tasks_some_time(one_stage: Stage) -> None:
    with one_stage.worker("-c", "2", CONF=SOFT) as process:
        one_stage.send("effect", "short", 0.7)
        one_stage.send("effect", "long", 60)
        wait_until(lambda: one_stage.ledger.count("started") == 2)
        process.signal(signal.SIGQUIT)
        assert process.process.wait(timeout=10) == 0
        assert "Initiating Soft Shutdown, terminating in 1.5 seconds" in process.text
    assert one_stage.ledger.keys("done") == {"short"}
    stats = one_stage.broker().stats(["celery"])["celery"]
    assert (stats.ready, stats.leased, stats.dead) == (1, 0, 0)


@pytest.mark.shows("setting", "worker_enable_soft_shutdown_on_idle")
@pytest.mark.shows("shutdown", "soft")
def test_a_soft_shutdown_of_an_idle_worker_ends_at_once_unless_told_otherwise(one_stage: Stage) -> None:
    with one_stage.worker("-c", "1", CONF=json.dumps({"worker_soft_shutdown_timeout": 600})) as process:
        process.signal(signal.SIGQUIT)
        assert process.process.wait(timeout=20) == 0
    conf = {"worker_soft_shutdown_timeout": 1, "worker_enable_soft_shutdown_on_idle": True}
    with one_stage.worker("-c", "1", CONF=json.dumps(conf), log="lingers.log") as process:
        began = time.monotonic()
        process.signal(signal.SIGQUIT)
        assert process.process.wait(timeout=20) == 0
        assert time.monotonic() - began >= 1


@pytest.mark.shows("shutdown", "REMAP_SIGTERM", "soft")
def test_a_second_signal_ends_a_soft_shutdown(one_stage: Stage) -> None:
    conf = json.dumps({"worker_soft_shutdown_timeout": 600})
    with one_stage.worker("-c", "1", CONF=conf, REMAP_SIGTERM="SIGQUIT") as process:
        one_stage.send("effect", "long", 600)
        wait_until(lambda: one_stage.ledger.count("started") == 1)
        process.signal(signal.SIGTERM)
        process.wait_log("Initiating Soft Shutdown")
        process.signal(signal.SIGTERM)
        assert process.process.wait(timeout=20) == 0
    assert one_stage.broker().stats(["celery"])["celery"].ready == 1


def started(stage: Stage) -> list[str]:
    """The first letters of the keys of all that have started, in that order."""
    with closing(sqlite3.connect(stage.ledger.path)) as ledger:
        rows = ledger.execute("SELECT key FROM entries WHERE what = 'started' ORDER BY rowid").fetchall()
    return [key[0] for (key,) in rows]


@pytest.mark.parametrize(
    ("queues", "conf", "high"), [("high:3,low:1", {}, 150), ("high,low", {}, 100), ("high,low", ORDERED, 200)]
)
@pytest.mark.shows("setting", "engine_queue_order", "engine_queue_weights")
@pytest.mark.shows("beyond", "queues are served by weight, in turn or in order")
def test_queues_are_shared_by_weight_in_turn_or_in_order(
    stage: Stage, queues: str, conf: dict[str, str], high: int
) -> None:
    for number in range(200):
        stage.send("early", f"low-{number}", queue="low")
        stage.send("early", f"high-{number}", queue="high")
    with stage.worker("-c", "1", "-Q", queues, CONF=json.dumps(conf)) as process:
        wait_until(lambda: stage.ledger.count("done") == 400)
        assert process.stop() == 0
        assert FALLBACK not in process.text
    assert abs(started(stage)[:200].count("h") - high) <= 30


def test_a_wrong_weight_stops_start_up_in_one_line(one_stage: Stage) -> None:
    with one_stage.worker("-Q", "high:0", ready=False) as process:
        assert process.process.wait(timeout=20) == 2
    assert "Error: -Q high:0: a weight is a number above zero" in process.text
    assert "Traceback" not in process.text
