"""A Celeriac worker does what Celery's users expect of a worker."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest
from celery import chain, chord, group
from celery.exceptions import NotRegistered, TimeLimitExceeded

from celeriac.core.message import Message
from tests.servers import wait_until
from tests.stage import APP, Stage
from tests.workers import worker


def sig(stage: Stage, task: str, *args: object) -> object:
    return stage.app.signature(f"{APP}.{task}", args=args)


@pytest.mark.shows("canvas", "chain", "group", "chord", "link")
@pytest.mark.shows("task option", "retry", "link")
def test_canvas_retries_and_results(stage: Stage) -> None:
    with stage.worker("-c", "2") as worker:
        assert stage.send("add", 1, 2).get(timeout=10) == 3
        assert stage.send("flaky", "f", 2).get(timeout=10) == 2
        assert chain(sig(stage, "add", 1, 2), sig(stage, "add", 3))().get(timeout=10) == 6
        assert group(sig(stage, "add", n, n) for n in range(6))().get(timeout=10) == [0, 2, 4, 6, 8, 10]
        result = chord((sig(stage, "add", n, n) for n in range(6)), sig(stage, "total"))()
        assert result.get(timeout=20) == 30
        stage.send("add", 2, 2, link=sig(stage, "remember", "link"))
        wait_until(lambda: stage.ledger.count("linked 4", "link") == 1)
        with pytest.raises(ValueError, match="boom"):
            stage.send("fail", "boom").get(timeout=10)
        assert worker.stop() == 0
    for line in (" ready.", "received", "succeeded in", "retry: Retry in", "Warm shutdown"):
        assert line in worker.text
    stats = stage.broker().stats(["celery"])["celery"]
    assert (stats.ready, stats.leased, stats.delayed, stats.dead) == (0, 0, 0, 0)


@pytest.mark.shows("beyond", "delayed tasks wait in the broker")
@pytest.mark.shows("task option", "countdown")
def test_a_delayed_task_waits_in_the_broker_and_survives_the_worker(stage: Stage) -> None:
    with stage.worker("-c", "1") as worker:
        sent = time.time()
        stage.send("effect", "later", countdown=3)
        wait_until(lambda: stage.broker().stats(["celery"])["celery"].delayed == 1)
        worker.kill_group()
    assert [entry.due >= sent + 2.9 for entry in stage.broker().scheduled(["celery"])] == [True]
    with stage.worker("-c", "1", log="second.log"):
        wait_until(lambda: stage.ledger.count("done", "later") == 1)
    [started] = stage.ledger.times("started", "later")
    assert started >= sent + 3


@pytest.mark.shows("beyond", "malformed messages are kept as dead letters")
@pytest.mark.shows("setting", "accept_content")
def test_malformed_messages_are_buried_with_their_bytes_and_the_worker_goes_on(stage: Stage) -> None:
    broker = stage.broker()
    stage.send("add", 1, 1)
    [lease] = broker.claim(["celery"], 1, owner="test", lease_for=60).leases
    good = json.loads(lease.message.payload)
    broker.ack([lease])
    bad = [
        b"not json at all",
        b'{"headers": 1}',
        json.dumps({**good, "body": "!!!"}).encode(),
        json.dumps({**good, "content-type": "application/x-python-serialize"}).encode(),
        json.dumps({**good, "headers": {**good["headers"], "task": "no.such.task"}}).encode(),
        json.dumps({**good, "headers": {**good["headers"], "eta": "tomorrow"}}).encode(),
        json.dumps({**good, "headers": {"lang": "py"}}).encode(),
    ]
    broker.send([Message(queue="celery", payload=payload) for payload in bad])
    with stage.worker("-c", "1") as worker:
        assert stage.send("add", 2, 3).get(timeout=10) == 5
        wait_until(lambda: len(broker.dead_letters()) == len(bad))
        assert worker.stop() == 0
    letters = broker.dead_letters()
    assert {letter.message.payload for letter in letters} == set(bad)
    assert all(letter.reason for letter in letters)
    with pytest.raises(NotRegistered):
        stage.app.AsyncResult(good["headers"]["id"]).get(timeout=10)


def test_reject_buries_and_ignore_forgets(stage: Stage) -> None:
    with stage.worker("-c", "1") as worker:
        stage.send("reject", "rejected")
        stage.send("ignore", "ignored")
        wait_until(lambda: stage.ledger.count("started") == 2)
        assert worker.stop() == 0
    [letter] = stage.broker().dead_letters()
    assert letter.reason == "rejected by its task: no good"


@pytest.mark.shows("task option", "time_limit", "soft_time_limit")
def test_time_limits(stage: Stage) -> None:
    with stage.worker("-c", "2") as worker:
        assert stage.send("slow_soft", "soft").get(timeout=10) == "interrupted"
        with pytest.raises(TimeLimitExceeded):
            stage.send("slow_hard", "hard").get(timeout=10)
        assert stage.send("add", 1, 1).get(timeout=10) == 2
        assert worker.stop() == 0
    assert stage.ledger.count("started", "hard") == 1


@pytest.mark.shows("task option", "expires")
def test_an_expired_task_does_not_run(stage: Stage) -> None:
    result = stage.send("early", "stale", expires=0.1)
    wait_until(lambda: time.time() > 0 and result.id)
    time.sleep(0.2)  # until it has expired
    with stage.worker("-c", "1") as worker:
        wait_until(lambda: result.state == "REVOKED")
        assert worker.stop() == 0
    assert stage.ledger.count("started") == 0


@pytest.mark.shows("shutdown", "warm")
@pytest.mark.shows("log line", "worker: Warm shutdown")
def test_warm_shutdown_finishes_what_runs_and_gives_back_the_rest(stage: Stage) -> None:
    with stage.worker("-c", "1") as worker:
        for number in range(30):
            stage.send("effect", f"task-{number}", 0.2)
        wait_until(lambda: stage.ledger.count("started") >= 3)
        assert worker.stop() == 0
    started, done = stage.ledger.count("started"), stage.ledger.count("done")
    assert started == done
    stats = stage.broker().stats(["celery"])["celery"]
    assert (stats.ready, stats.leased) == (30 - done, 0)


@pytest.mark.shows("shutdown", "cold, at the second signal")
@pytest.mark.shows("log line", "worker: Cold shutdown")
def test_a_second_signal_shuts_down_cold(stage: Stage) -> None:
    with stage.worker("-c", "2") as worker:
        stage.send("effect", "late", 60)
        stage.send("early", "early", 60)
        wait_until(lambda: stage.ledger.count("started") == 2)
        worker.signal(signal.SIGTERM)
        worker.wait_log("Warm shutdown")
        worker.signal(signal.SIGTERM)
        assert worker.process.wait(timeout=10) == 0
        assert "Cold shutdown" in worker.text
    stats = stage.broker().stats(["celery"])["celery"]
    assert (stats.ready, stats.leased, stats.dead) == (1, 0, 1)


@pytest.mark.shows("beyond", "a slow task holds up none behind it")
def test_a_slow_task_gives_back_the_ones_behind_it(stage: Stage) -> None:
    with stage.worker("-c", "2") as worker:
        for number in range(400):
            stage.send("add", number, 1)  # teaches the shards to claim many at once
        wait_until(lambda: stage.broker().stats(["celery"])["celery"].ready == 0)
        stage.send("effect", "slow", 3)
        for number in range(50):
            stage.send("effect", f"quick-{number}")
        wait_until(lambda: len(stage.ledger.keys("done")) == 50)
        assert stage.ledger.count("done", "slow") == 0
        assert worker.stop() == 0


@pytest.mark.shows("worker option", "--queues", "--pool")
def test_several_queues_and_solo(stage: Stage) -> None:
    with stage.worker("-P", "solo", "-Q", "a,b") as worker:
        for queue in ("a", "b", "other"):
            stage.send("effect", queue, queue=queue)
        wait_until(lambda: stage.ledger.keys("done") == {"a", "b"})
        assert {stage.ledger.pid("a"), stage.ledger.pid("b")} == {worker.pid}
        assert worker.stop() == 0
    assert stage.broker().stats(["other"])["other"].ready == 1


@pytest.mark.shows("worker option", "--max-tasks-per-child")
def test_max_tasks_per_child(stage: Stage) -> None:
    with stage.worker("-c", "1", "--max-tasks-per-child", "3") as worker:
        pids = [stage.send("whoami").get(timeout=10)["pid"] for _ in range(7)]
        assert worker.stop() == 0
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


@pytest.mark.shows("control command", "ping", "stats", "registered", "active_queues", "active", "scheduled")
@pytest.mark.shows("control command", "reserved", "shutdown")
def test_remote_control(stage: Stage) -> None:
    with stage.worker("-c", "2", "-n", "one@test") as worker:
        inspect = stage.app.control.inspect(timeout=5, destination=["one@test"])
        assert inspect.ping() == {"one@test": {"ok": "pong"}}
        stats = inspect.stats()["one@test"]
        assert stats["pid"] == worker.pid
        assert stats["pool"]["processes"] == worker.shards()
        assert f"{APP}.add" in inspect.registered()["one@test"]
        assert [queue["name"] for queue in inspect.active_queues()["one@test"]] == ["celery"]
        stage.send("effect", "long", 3)
        stage.send("effect", "delayed", countdown=60)
        wait_until(lambda: inspect.active()["one@test"])
        [active] = inspect.active()["one@test"]
        assert (active["name"], active["args"]) == (f"{APP}.effect", ["long", 3])
        wait_until(lambda: inspect.scheduled()["one@test"])
        assert inspect.scheduled()["one@test"][0]["request"]["args"] == ["delayed"]
        assert inspect.reserved()["one@test"] == []
        stage.app.control.shutdown(destination=["one@test"])
        assert worker.process.wait(timeout=15) == 0
    assert stage.ledger.count("done", "long") == 1
    stage.send("add", 1, 1)
    assert stage.app.control.purge() >= 1
    assert stage.broker().stats(["celery"])["celery"].ready == 0


@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc lists")
def test_who_asks_for_stats_leaves_no_descriptors_behind(stage: Stage) -> None:
    with stage.worker("-c", "1", "-n", "one@test") as worker:
        inspect = stage.app.control.inspect(timeout=5, destination=["one@test"])
        descriptors = Path(f"/proc/{worker.pid}/fd")
        counts = []
        for _ in range(8):
            assert inspect.stats()["one@test"]["broker"]["transport"]
            counts.append(len(list(descriptors.iterdir())))
        assert worker.stop() == 0
    assert max(counts) <= counts[0] + 1, counts


def test_a_misspelt_setting_stops_start_up(stage: Stage) -> None:
    with stage.worker(ready=False, CELERIAC_TEST_SETTING="engine_lease_second") as worker:
        assert worker.process.wait(timeout=20) == 2
    assert "unknown setting 'engine_lease_second'; did you mean 'engine_lease_seconds'?" in worker.text
    assert "Traceback" not in worker.text


@pytest.mark.shows("worker option", "--pool")
def test_what_the_engine_does_not_run_falls_back_with_one_warning(stage: Stage) -> None:
    with stage.worker("-P", "custom", CELERY_CUSTOM_WORKER_POOL="tests.apps.own_pool:OwnPool") as worker:
        assert stage.send("add", 1, 2).get(timeout=15) == 3
        warning = "Celery's stock worker runs here instead of Celeriac's engine: the pool 'own_pool'"
        assert worker.text.count(warning) == 1
        worker.stop()


@pytest.mark.shows("beyond", "reconnect after the broker was restarted")
def test_the_broker_may_restart(redis_stage: Stage, redis: object) -> None:
    stage = redis_stage
    with stage.worker("-c", "2") as worker:
        assert stage.send("add", 1, 1).get(timeout=10) == 2
        redis.stop()  # type: ignore[attr-defined]
        worker.wait_log("trying again in")
        redis.start()  # type: ignore[attr-defined]
        worker.wait_log("The broker answers again")
        stage.send("effect", "after")
        wait_until(lambda: stage.ledger.count("done", "after") == 1)
        wait_until(lambda: stage.app.control.ping(timeout=1), what="remote control")
        assert len(worker.shards()) == 2
        assert Path(f"/proc/{worker.pid}").exists()
        assert worker.stop() == 0


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://file.db", "is not an SQLite URL: write sqlite:///file.db"),
        ("sqlit:///file.db", "has no known scheme; did you mean 'sqlite'?"),
        ("sqlite:////proc/none/file.db", "does not exist: create it"),
        ("sqlite:///file.db?syncronous=FULL", "did you mean 'synchronous'?"),
    ],
)
def test_a_wrong_broker_url_stops_start_up_in_one_line(tmp_path: Path, url: str, says: str) -> None:
    environment = {"BROKER": url, "LEDGER": str(tmp_path / "ledger.db")}
    with worker(APP, environment=environment, log=tmp_path / "worker.log", ready=False) as process:
        assert process.process.wait(timeout=20) == 2
    assert says in process.text
    assert "Traceback" not in process.text


def test_what_failed_tasks_leave_behind_is_collected(redis_stage: Stage) -> None:
    """A failure leaves frames that refer to each other, which only a full collection finds."""
    stage = redis_stage
    with stage.worker("-c", "1", CONF='{"result_expires": 60}') as worker:
        [shard] = worker.shards()
        taken = []
        for part in range(3):
            for number in range(300):
                stage.send("fail", f"{part}-{number}")
            last = stage.send("add", 1, 1)
            assert last.get(timeout=60) == 2
            taken.append(resident(shard))
        assert taken[2] - taken[0] < 15 * 1024, taken  # they came to 50 MiB


def resident(pid: int) -> int:
    """A process's memory in KiB."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line]
    return int(line.split()[1])
