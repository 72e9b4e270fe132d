"""Remote control changes an engine worker as it changes Celery's own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from tests.servers import wait_until
from tests.stage import APP, Stage
from tests.workers import WorkerProcess, worker

NODE = "one@test"


class Remote:
    """Commands to the worker under test, and its answers."""

    def __init__(self, app: Any, node: str = NODE) -> None:
        self._app = app
        self._node = node

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Return the worker's answer."""
        [answer] = self._app.control.broadcast(
            command, arguments=arguments, reply=True, timeout=10, destination=[self._node]
        )
        return answer[self._node]

    def active(self) -> set[str]:
        """The ids of the tasks it says it runs."""
        return {request["id"] for request in self("active")}

    def pool(self) -> Any:
        """What it says of its pool."""
        return self("stats")["pool"]


@pytest.fixture
def remote(stage: Stage) -> Remote:
    return Remote(stage.app)


def states(stage: Stage) -> tuple[int, int, int, int]:
    """How many messages of the default queue are ready, leased, delayed, dead."""
    stats = stage.broker().stats(["celery"])["celery"]
    return (stats.ready, stats.leased, stats.delayed, stats.dead)


# -- What waits


@pytest.mark.shows("control command", "scheduled")
@pytest.mark.shows("beyond", "`inspect scheduled` by pages")
def test_delayed_tasks_are_listed_by_pages_the_next_due_first(stage: Stage, remote: Remote) -> None:
    ids = [stage.send("effect", str(number), countdown=600 - number).id for number in range(25)]
    expected = list(reversed(ids))
    with stage.worker("-n", NODE):
        wait_until(lambda: len(remote("scheduled")) == len(ids))  # in Redis a worker puts them aside
        pages = [remote("scheduled", offset=offset, limit=10) for offset in (0, 10, 20, 30)]
        assert [[entry["request"]["id"] for entry in page] for page in pages] == [
            expected[:10],
            expected[10:20],
            expected[20:],
            [],
        ]


# -- Revoking


@pytest.mark.shows("control command", "revoke", "revoked", "active")
@pytest.mark.shows("log line", "Discarding revoked task")
def test_a_revoked_task_does_not_start(stage: Stage, remote: Remote) -> None:
    with stage.worker("-c", "1", "-n", NODE) as worker:
        blocker = stage.send("early", "blocker", 60)
        wait_until(lambda: remote.active() == {blocker.id})
        first, second = stage.send("early", "first"), stage.send("early", "second", countdown=0.2)
        assert remote("revoke", task_id=[first.id, second.id])["ok"].startswith("tasks {")
        assert set(remote("revoked")) == {first.id, second.id}
        assert remote("revoke", task_id=blocker.id, terminate=True) == {"ok": f"terminate: {blocker.id}"}
        for result in (blocker, first, second):
            wait_until(lambda result=result: result.state == "REVOKED")
        wait_until(lambda: states(stage) == (0, 0, 0, 0), what="an empty queue")
        os.kill(worker.shards()[0], signal.SIGKILL)  # whoever comes next knows what is revoked
        third = stage.send("early", "third", task_id=first.id)
        assert stage.send("add", 1, 1).get(timeout=10) == 2
        assert stage.ledger.keys("started") == {"blocker"}
        assert third.state == "REVOKED"
        with pytest.raises(TaskRevokedError):
            second.get(timeout=5)
        assert worker.stop() == 0
    assert "Discarding revoked task" in worker.text


@pytest.mark.shows("worker option", "--pool")
@pytest.mark.shows("control command", "revoke", "pool_grow")
def test_a_revoked_task_does_not_start_in_a_solo_worker(stage: Stage, remote: Remote) -> None:
    with stage.worker("-P", "solo", "-n", NODE) as worker:
        assert remote("revoke", task_id=["bad"], terminate=True) == {"ok": "terminate: tasks unknown"}
        bad = stage.send("early", "bad", task_id="bad")
        assert stage.send("early", "good").get(timeout=10) == "good"
        wait_until(lambda: bad.state == "REVOKED")
        assert "one process" in remote("pool_grow", n=1)["error"]
        assert worker.stop() == 0
    assert stage.ledger.keys("started") == {"good"}


@pytest.mark.parametrize("task", ["effect", "early"])
@pytest.mark.shows("control command", "terminate", "query_task")
@pytest.mark.shows("log line", "Terminating ... (signal)")
def test_a_terminated_task_is_revoked_and_never_again_run(stage: Stage, remote: Remote, task: str) -> None:
    with stage.worker("-c", "2", "-n", NODE) as worker:
        bad, good = stage.send(task, "bad", 60), stage.send("early", "good", 1)
        wait_until(lambda: remote.active() == {bad.id, good.id})
        [(state, info)] = remote("query_task", ids=[bad.id]).values()
        assert (state, info["args"], info["worker_pid"]) == ("active", ["bad", 60], stage.ledger.pid("bad"))
        remote("terminate", signal="KILL", task_id=[bad.id])
        wait_until(lambda: bad.state == "REVOKED")
        assert good.get(timeout=10) == "good"
        wait_until(lambda: states(stage) == (0, 0, 0, 0), what="an empty queue")
        assert len(worker.shards()) == 2
        assert worker.stop() == 0
    assert stage.ledger.count("started") == 2
    assert stage.ledger.count("done") == 1
    assert f"Terminating {bad.id} (9)" in worker.text


@pytest.mark.shows("control command", "revoke_by_stamped_headers")
@pytest.mark.shows("canvas", "stamp")
def test_stamped_tasks_are_revoked_and_terminated(stage: Stage, remote: Remote) -> None:
    def send(key: str, tenant: object) -> Any:
        signature = stage.app.signature(f"{APP}.early", args=(key, 60))
        signature.stamp(tenant=tenant)
        return signature.apply_async()

    with stage.worker("-c", "1", "-n", NODE) as worker:
        running = send("running", "acme")
        wait_until(lambda: remote.active() == {running.id})
        waiting = send("waiting", 1234)
        remote("revoke_by_stamped_headers", headers={"tenant": ["acme", 1234]}, terminate=True)
        for result in (running, waiting):
            wait_until(lambda result=result: result.state == "REVOKED")
        other = send("other", "tiny")
        wait_until(lambda: remote.active() == {other.id})
        assert stage.ledger.keys("started") == {"running", "other"}
        worker.kill_group()


@pytest.mark.shows("worker option", "--without-mingle")
@pytest.mark.shows("control command", "hello")
@pytest.mark.shows("log line", "mingle: sync with ... nodes")
def test_workers_tell_each_other_what_is_revoked(stage: Stage, remote: Remote) -> None:
    with stage.worker("-c", "1", "-n", NODE):
        remote("revoke", task_id=["some-id"])
        with stage.worker("-c", "1", "-n", "two@test", log="second.log") as second:
            second.wait_log("mingle: sync with")
            assert Remote(stage.app, "two@test")("revoked") == ["some-id"]
            stage.send("early", "late", task_id="some-id", queue="celery")
            wait_until(lambda: states(stage) == (0, 0, 0, 0))
        with stage.worker("-c", "1", "-n", "three@test", "--without-mingle", log="third.log"):
            assert Remote(stage.app, "three@test")("revoked") == []
    assert stage.ledger.count("started") == 0


# -- Pool


@pytest.mark.shows("control command", "pool_grow", "pool_shrink")
def test_the_pool_grows_shrinks_and_restarts(stage: Stage, remote: Remote) -> None:
    with stage.worker("-c", "1", "-n", NODE) as worker:
        running = stage.send("effect", "running", 60)
        wait_until(lambda: remote.active() == {running.id})
        [busy] = worker.shards()
        assert remote("pool_grow", n=2) == {"ok": "pool will grow"}
        wait_until(lambda: len(remote.pool()["processes"]) == 3)
        assert remote.pool()["max-concurrency"] == 3
        assert remote("pool_shrink", n=2) == {"ok": "pool will shrink"}
        wait_until(lambda: worker.shards() == [busy], what="the busy shard alone")
        assert "cannot shrink the pool by 1" in remote("pool_shrink", n=1)["error"]
        assert "Autoscale not enabled" in remote("autoscale", max=3, min=1)["error"]
        assert "Pool restarts not enabled" in remote("pool_restart")["error"]
        assert stage.ledger.count("started") == 1
        worker.kill_group()


@pytest.mark.shows("control command", "pool_restart")
@pytest.mark.shows("setting", "worker_pool_restarts")
def test_a_pool_restart_replaces_every_process(redis_stage: Stage) -> None:
    stage = redis_stage
    environment = {
        "ENGINE": "celeriac",
        "BROKER": stage.url,
        "RESULTS": stage.results,
        "KEY_PREFIX": stage.prefix,
    }
    log = stage.folder / "worker.log"
    with worker("tests.apps.either", "-c", "2", "-n", NODE, environment=environment, log=log) as running:
        before = set(running.shards())
        assert Remote(stage.app)("pool_restart") == {"ok": "reload started"}
        wait_until(lambda: len(running.shards()) == 2 and not before & set(running.shards()))
        assert stage.app.send_task("tests.apps.either.add", (1, 2)).get(timeout=10) == 3
        assert running.stop() == 0


@pytest.mark.shows("worker option", "--autoscale")
def test_autoscale_with_one_number_begins_with_nobody(stage: Stage, remote: Remote) -> None:
    with stage.worker("--autoscale", "2", "-n", NODE, AUTOSCALE_KEEPALIVE="1") as worker:
        wait_until(lambda: worker.shards() == [], what="nobody to be there")
        for number in range(6):
            stage.send("effect", f"task-{number}", 0.2)
        wait_until(lambda: len(stage.ledger.keys("done")) == 6)
        assert remote("stats")["autoscaler"]["max"] == 2
        wait_until(lambda: worker.shards() == [], what="nobody to be left")
        assert worker.stop() == 0


@pytest.mark.shows("worker option", "--autoscale")
@pytest.mark.shows("control command", "autoscale")
def test_the_pool_follows_the_backlog(stage: Stage, remote: Remote) -> None:
    with stage.worker("--autoscale", "3,1", "-n", NODE, AUTOSCALE_KEEPALIVE="1") as worker:
        assert len(worker.shards()) == 1
        for number in range(40):
            stage.send("effect", f"task-{number}", 0.2)
        wait_until(lambda: len(worker.shards()) == 3, what="three shards")
        wait_until(lambda: len(stage.ledger.keys("done")) == 40)
        wait_until(lambda: len(worker.shards()) == 1, what="one shard")
        assert remote("stats")["autoscaler"] == {"max": 3, "min": 1, "current": 1, "qty": 0}
        assert "autoscale" in remote("pool_grow", n=1)["error"]
        assert remote("autoscale", max=4, min=2) == {"ok": "autoscale now max=4 min=2"}
        wait_until(lambda: len(worker.shards()) == 2, what="two shards")
        assert worker.stop() == 0
    assert stage.ledger.count("started") == 40


# -- Queues


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.shows("control command", "add_consumer", "cancel_consumer", "active_queues")
def test_queues_are_added_and_cancelled(stage: Stage, remote: Remote, pool: str) -> None:
    with stage.worker("-P", pool, "-c", "2", "-n", NODE) as worker:
        for number in range(20):
            stage.send("effect", f"extra-{number}", queue="extra")
        assert remote("add_consumer", queue="extra") == {"ok": "add consumer extra"}
        wait_until(lambda: len(stage.ledger.keys("done")) == 20)
        assert {queue["name"] for queue in remote("active_queues")} == {"celery", "extra"}
        assert remote("cancel_consumer", queue="extra") == {"ok": "no longer consuming from extra"}
        assert [queue["name"] for queue in remote("active_queues")] == ["celery"]
        stage.send("add", 1, 1).get(timeout=10)  # one shard at least has heard of it; both within a second
        wait_until(lambda: both_have_heard(stage), what="both shards")
        stage.send("effect", "too late", queue="extra")
        for number in range(20):
            stage.send("effect", f"celery-{number}")
        wait_until(lambda: len(stage.ledger.keys("done")) == 40)
        assert worker.stop() == 0
    assert stage.broker().stats(["extra"])["extra"].ready == 1
    assert stage.ledger.count("done") == 40


def both_have_heard(stage: Stage) -> bool:
    """Whether a message to the cancelled queue stays where it is for longer than an idle shard sleeps."""
    stage.send("whoami", queue="extra")
    time.sleep(1.2)
    return stage.app.control.purge() == 0 and stage.broker().purge(["extra"]) == 1


# -- Limits


@pytest.mark.shows("control command", "time_limit")
def test_time_limits_can_be_changed(stage: Stage, remote: Remote) -> None:
    with stage.worker("-c", "1", "-n", NODE) as worker:
        task = f"{APP}.early"
        assert remote("time_limit", task_name=task, hard=0.3, soft=None) == {
            "ok": "time limits set successfully"
        }
        with pytest.raises(TimeLimitExceeded):
            stage.send("early", "late", 60).get(timeout=10)  # and the shard's successor knows it too
        with pytest.raises(TimeLimitExceeded):
            stage.send("early", "later", 60).get(timeout=10)
        assert remote("time_limit", task_name="no.such.task", hard=1) == {"error": "unknown task"}
        assert worker.stop() == 0


@pytest.mark.shows("control command", "rate_limit")
@pytest.mark.shows("task option", "rate_limit")
def test_a_rate_limit_holds_for_the_worker_and_holds_up_no_other_task(stage: Stage, remote: Remote) -> None:
    with stage.worker("-c", "2", "-n", NODE) as worker:
        task = f"{APP}.early"
        assert remote("rate_limit", task_name=task, rate_limit="5/s") == {
            "ok": "new rate limit set successfully"
        }
        for number in range(15):
            stage.send("early", f"limited-{number}")
        assert [stage.send("add", number, 1).get(timeout=10) for number in range(5)] == [1, 2, 3, 4, 5]
        assert stage.ledger.count("started") < 15
        wait_until(lambda: len(stage.ledger.keys("done")) == 15, timeout=15)
        times = stage.ledger.times("started")
        assert times[-1] - times[0] >= 14 / 5 * 0.9
        assert remote("rate_limit", task_name=task, rate_limit=0) == {
            "ok": "rate limit disabled successfully"
        }
        assert "Invalid rate limit" in remote("rate_limit", task_name=task, rate_limit="fast")["error"]
        assert worker.stop() == 0
    assert stage.ledger.count("started") == 15


# -- Every broker


@pytest.mark.shows("control command", "report", "conf", "stats", "memdump", "memsample", "heartbeat")
@pytest.mark.shows("control command", "clock", "ping", "registered", "active_queues")
def test_what_needs_no_arguments_is_answered_on_every_broker(stage: Stage, remote: Remote) -> None:
    """But for ``objgraph``, which needs a library of its own, and ``shutdown``."""
    with stage.worker("-c", "1", "-n", NODE) as worker:
        commands = [
            *("active", "active_queues", "clock", "conf", "dump_active", "dump_conf", "dump_reserved"),
            *("dump_revoked", "dump_schedule", "dump_tasks", "heartbeat", "memdump", "memsample", "ping"),
            *("registered", "report", "reserved", "revoked", "scheduled", "stats"),
        ]
        answers = {command: remote(command) for command in commands}
        refused = {name for name, said in answers.items() if isinstance(said, dict) and "error" in said}
        assert refused == set()
        report = answers["report"]["ok"]
        assert f"results:{stage.results.partition(':')[0]}" in report
        assert "broker_url: " in report
        assert worker.stop() == 0


# -- Compared with Celery's own worker


@pytest.fixture
def both(redis_stage: Stage) -> Iterator[dict[str, tuple[Remote, WorkerProcess]]]:
    """The same application run by Celery's worker and by Celeriac's, each on a queue of its own."""
    stage = redis_stage
    environment = {"BROKER": stage.url, "RESULTS": stage.results, "KEY_PREFIX": stage.prefix}

    def start(engine: str) -> Any:
        return worker(
            "tests.apps.either",
            *("-c", "1", "-n", f"{engine}@test", "-Q", engine),
            environment={**environment, "ENGINE": engine},
            log=stage.folder / f"{engine}.log",
        )

    with start("celery") as stock, start("celeriac") as ours:
        yield {
            "celery": (Remote(stage.app, "celery@test"), stock),
            "celeriac": (Remote(stage.app, "celeriac@test"), ours),
        }


@pytest.mark.shows("control command", "ping", "registered", "stats", "active_queues", "active", "reserved")
@pytest.mark.shows(
    "control command", "scheduled", "conf", "clock", "time_limit", "revoke", "revoked", "add_consumer"
)
@pytest.mark.shows("control command", "cancel_consumer", "pool_grow", "hello")
def test_answers_have_the_form_of_a_stock_workers(
    redis_stage: Stage, both: dict[str, tuple[Remote, WorkerProcess]]
) -> None:
    stage = redis_stage
    told: dict[str, dict[str, Any]] = {}
    for name, (remote, process) in both.items():
        results = [stage.app.send_task("tests.apps.either.add", (1, n), queue=name) for n in range(3)]
        assert [result.get(timeout=10) for result in results] == [1, 2, 3]
        running = stage.app.send_task("tests.apps.either.sleep", (60,), queue=name)
        wait_until(lambda remote=remote, running=running: remote.active() == {running.id})
        [active], [safe] = remote("active"), remote("active", safe=True)
        stats = remote("stats")
        told[name] = {
            "ping": remote("ping"),
            "registered": remote("registered"),
            "total": stats["total"],
            "queues": [set(queue) for queue in remote("active_queues")],
            "active": set(active),
            "args": (active["args"], active["kwargs"], safe["args"], safe["kwargs"]),
            "delivery": set(active["delivery_info"]),
            "reserved": remote("reserved"),
            "scheduled": remote("scheduled"),
            "conf": set(remote("conf")),
            "clock": set(remote("clock")),
            "unknown limit": remote("time_limit", task_name="no.such", soft=1, hard=2),
            "revoked": remote("revoke", task_id=["a"]),
            "terminated": remote("revoke", task_id=[running.id], terminate=True).keys(),
            "known as revoked": set(remote("revoked")) == {"a", running.id},
            "added": remote("add_consumer", queue="extra"),
            "cancelled": remote("cancel_consumer", queue="extra"),
            "grown": remote("pool_grow", n=1),
            "hello": set(remote("hello", from_node="other@test")),
        }
        assert stats["pid"] == process.pid
        told[name]["stats"] = set(stats)
        told[name]["pool"] = set(stats["pool"])
    more_stats = told["celeriac"].pop("stats") - told["celery"].pop("stats")
    assert more_stats <= {"queues"}
    pool, stock_pool = told["celeriac"].pop("pool"), told["celery"].pop("pool")
    assert stock_pool <= pool
    assert told["celeriac"] == told["celery"]
