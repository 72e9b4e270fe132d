"""A worker and a broker are scraped, by a test and by a real Prometheus; probes hear how a worker is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from celeriac.observe.rules import rules
from tests.prometheus import Scraped
from tests.scraped import CELERIAC, exporter, measured
from tests.servers import redis_server, wait_until
from tests.stage import APP, Stage
from tests.workers import ROOT

ADD, FAIL = f"{APP}.add", f"{APP}.fail"


def finished(scraped: Scraped, task: str, outcome: str, queue: str = "celery") -> float:
    labels = {"queue": queue, "task": task, "outcome": outcome}
    return scraped.value("celeriac_tasks_finished_total", **labels) or 0.0


@pytest.fixture
def one_stage(tmp_path: Path) -> Stage:
    """A stage on one broker, for what no broker has a part in."""
    return Stage(tmp_path, None)


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "solo"])
@pytest.mark.shows("beyond", "metrics")
def test_a_worker_tells_what_has_become_of_its_tasks(pool: str, one_stage: Stage) -> None:
    stage = one_stage
    with measured(stage, "-c", "2", "-P", pool) as (_, scraped):
        for number in range(50):
            stage.send("add", number, 1)
        stage.send("fail", "boom")
        stage.send("flaky", "once", 1)
        stage.send("reject", "no")
        stage.send("add", 1, 1, expires=-1)
        stage.send("add", 1, 1, countdown=0.5)
        fates = {
            (ADD, "succeeded"): 51,
            (ADD, "revoked"): 1,
            (FAIL, "failed"): 1,
            (f"{APP}.reject", "rejected"): 1,
        }
        fates |= {(f"{APP}.flaky", "retried"): 1, (f"{APP}.flaky", "succeeded"): 1}
        wait_until(lambda: {fate: finished(scraped, *fate) for fate in fates} == fates, what="all counted")
        assert scraped.value("celeriac_tasks_started_total", queue="celery", task=ADD) == 51
        labels = {"queue": "celery", "task": ADD, "outcome": "succeeded", "le": "+Inf"}
        assert scraped.value("celeriac_task_duration_seconds_bucket", **labels) == 51
        assert scraped.value("celeriac_task_failures_total", task=FAIL, exception="ValueError") == 1
        assert scraped.value("celeriac_task_queue_wait_seconds_count", queue="celery") == 55
        assert scraped.value("celeriac_schedule_lateness_seconds_count", queue="celery") == 2
        assert scraped.value("celeriac_dead_letters", queue="celery") == 1
        assert scraped.value("celeriac_dead_letters_buried_total", queue="celery", reason="rejected") == 1
        assert scraped.value("celeriac_worker_processes", worker="one@test") == (1 if pool == "solo" else 2)
        arrivals = 50 + len(("fail", "flaky", "its retry", "reject", "expired", "delayed"))
        wait_until(
            lambda: scraped.value("celeriac_queue_arrivals_total", queue="celery") == arrivals,
            what="arrivals",
        )


def test_what_runs_and_what_waits_is_seen_while_it_does(stage: Stage) -> None:
    with measured(stage, "-c", "1") as (_, scraped):
        assert scraped.value("celeriac_worker_busy_processes", worker="one@test") == 0
        stage.send("effect", "later", countdown=600)
        wait_until(
            lambda: scraped.value("celeriac_queue_scheduled", queue="celery") == 1, what="one held back"
        )
        stage.send("effect", "long", 60)
        wait_until(
            lambda: scraped.value("celeriac_worker_busy_processes", worker="one@test"), what="one busy"
        )
        for priority in (0, 5, 9):
            stage.send("effect", f"waits {priority}", priority=priority)
        wait_until(lambda: scraped.value("celery_queue_length", queue="celery") == 3, what="three waiting")
        assert scraped.value("celeriac_queue_unacked", queue="celery") == 1
        age = "celeriac_queue_oldest_message_age_seconds"
        wait_until(lambda: (scraped.value(age, queue="celery") or 0) > 1, what="the oldest a second old")
        assert scraped.value(age, queue="celery") < 60
        assert scraped.get("/ready") == (200, "ok\n")  # busy is ready


def test_nothing_counted_is_lost_with_a_killed_shard(one_stage: Stage) -> None:
    with measured(one_stage, "-c", "1") as (worker, scraped):
        for number in range(20):
            one_stage.send("add", number, 1)
        wait_until(lambda: finished(scraped, ADD, "succeeded") == 20, what="twenty done")
        one_stage.send("early_suicide", "killed")
        lost = f"{APP}.early_suicide", "lost"
        wait_until(lambda: finished(scraped, *lost) == 1, what="the loss counted")
        one_stage.send("add", 1, 1)
        wait_until(lambda: finished(scraped, ADD, "succeeded") == 21, what="another done")
        assert scraped.value("celeriac_worker_child_restarts_total", reason="lost") == 1
        assert (scraped.value("celeriac_lease_renewals_total") or 0) > 0
        os.kill(worker.shards()[0], signal.SIGKILL)
        wait_until(
            lambda: scraped.value("celeriac_worker_child_restarts_total", reason="lost") == 2, what="two lost"
        )
        assert finished(scraped, ADD, "succeeded") == 21


def test_an_exporter_knows_all_workers_and_asks_none(redis_stage: Stage) -> None:
    stage = redis_stage
    with (
        stage.worker("-c", "1", "-n", "one@test", log="one.log", CONF='{"metrics_share": true}') as one,
        stage.worker("-c", "3", "-n", "two@test", log="two.log", CONF='{"metrics_share": true}'),
        exporter(stage, "--queue", "extra") as scraped,
    ):
        for name, slots in (("one@test", 1), ("two@test", 3)):
            wait_until(
                lambda w=name, n=slots: scraped.value("celeriac_worker_processes", worker=w) == n, what=name
            )
        for number in range(60):
            stage.send("add", number, 1)
        stage.send("add", 1, 1, queue="extra")
        wait_until(lambda: finished(scraped, ADD, "succeeded") == 60, what="all counted")
        assert scraped.value("celery_queue_length", queue="extra") == 1
        assert scraped.value("celeriac_queue_processes", queue="celery") == 4
        assert scraped.value("celeriac_queue_processes", queue="extra") == 0
        wait_until(
            lambda: scraped.value("celeriac_queue_arrivals_total", queue="celery") == 60, what="arrivals"
        )
        one.stop()
        wait_until(lambda: scraped.value("celeriac_queue_processes", queue="celery") == 3, what="one gone")
        assert finished(scraped, ADD, "succeeded") == 60
        assert "inspect" not in (stage.folder / "two.log").read_text()


def test_a_stock_worker_is_known_by_its_events(redis_stage: Stage) -> None:
    stage = redis_stage
    with (
        exporter(stage, "--compatible") as scraped,
        stage.worker(
            "-c", "1", "-E", "-n", "stock@test", "-P", "gevent", CONF='{"metrics_port": 0}'
        ) as worker,
    ):
        assert "Celery's stock worker runs here" in worker.text
        assert "Celery's stock worker has no metrics_port" in worker.text
        wait_until(lambda: scraped.value("celery_worker_up", hostname="stock@test") == 1, what="it heard of")
        stage.send("add", 1, 2)
        labels = {"name": ADD, "hostname": "stock@test", "queue_name": "_unknown"}
        wait_until(
            lambda: scraped.value("celery_task_succeeded_total", **labels) == 1, what="its task counted"
        )
        assert scraped.value("celery_task_runtime_count", **labels) == 1


def test_health_follows_broker_and_shutdown(tmp_path: Path) -> None:
    with redis_server() as redis:
        stage = Stage(tmp_path, redis)
        with measured(stage, "-c", "1") as (worker, scraped):
            wait_until(lambda: scraped.get("/ready") == (200, "ok\n"), what="ready")
            redis.kill()
            wait_until(lambda: scraped.get("/ready")[0] == 503, what="not ready")
            assert "broker" in scraped.get("/ready")[1]
            assert scraped.get("/live") == (200, "ok\n")
            wait_until(lambda: scraped.value("celeriac_broker_up") == 0, what="the broker down")
            redis.start()
            wait_until(lambda: scraped.get("/ready")[0] == 200, what="ready again")
            wait_until(lambda: scraped.value("celeriac_broker_up") == 1, what="the broker up")
            stage.send("effect", "long", 3)
            wait_until(lambda: stage.ledger.count("started"), what="the task started")
            worker.signal(signal.SIGTERM)
            wait_until(lambda: scraped.get("/ready") == (503, "the worker is stopping\n"), what="stopping")
            assert scraped.get("/live") == (200, "ok\n")
            assert worker.process.wait(timeout=30) == 0
            assert stage.ledger.count("done") == 1


def test_an_answer_that_cannot_be_sent_does_not_hold_the_worker_up(tmp_path: Path) -> None:
    with redis_server() as redis:
        stage = Stage(tmp_path, redis)
        with measured(stage, "-c", "1", imports=["tests.apps.deadly"]) as (_, scraped):
            with suppress(*stage.app.connection_for_read().connection_errors):
                stage.app.control.broadcast("kill_process", {"pid": redis.pid}, reply=True)
            wait_until(lambda: "cannot be reached" in scraped.get("/ready")[1], what="the outage seen")
            assert scraped.get("/live") == (200, "ok\n")


def test_a_taken_port_is_refused_in_one_line(one_stage: Stage) -> None:
    with measured(one_stage, "-c", "1") as (_, scraped):
        conf = json.dumps({"metrics_port": scraped.port})
        with one_stage.worker("-n", "two@test", log="two.log", ready=False, CONF=conf) as second:
            assert second.process.wait(timeout=30) == 2
            [line] = [line for line in second.text.splitlines() if "metrics_port" in line]
            assert f"127.0.0.1:{scraped.port}" in line
            assert "Traceback" not in second.text


def test_the_port_is_free_once_its_worker_is_dead_though_its_shards_finish(one_stage: Stage) -> None:
    with measured(one_stage, "-c", "1") as (worker, scraped):
        one_stage.send("effect", "long", 10)
        wait_until(lambda: one_stage.ledger.count("started"), what="the task started")
        worker.signal(signal.SIGKILL)
        worker.process.wait()
        assert scraped.get("/live")[0] == 0
        with measured(one_stage, "-c", "1", log="next.log", metrics_port=scraped.port):
            assert scraped.get("/live")[0] == 200
            assert not one_stage.ledger.count("done")


def test_without_the_setting_nothing_listens(one_stage: Stage) -> None:
    with one_stage.worker("-c", "1") as worker:
        one_stage.send("add", 1, 2).get(timeout=30)
        assert "Metrics" not in worker.text
        assert not listens(worker.pid)
    with measured(one_stage, "-c", "1", log="other.log") as (worker, _):
        assert listens(worker.pid)


def listens(pid: int) -> bool:
    """Whether the process holds a TCP socket on which connections are awaited."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    awaiting = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    return any(str(fd.readlink()) in awaiting for fd in Path(f"/proc/{pid}/fd").iterdir())


def celeriac(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CELERIAC, *arguments],
        cwd=ROOT,
        env={**os.environ, **stage.environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_prints_what_it_is_asked_for(one_stage: Stage) -> None:
    one_stage.send("add", 1, 2)
    once = celeriac(one_stage, "-A", APP, "metrics", "--once")
    assert once.returncode == 0, once.stderr
    assert 'celery_queue_length{queue="celery"} 1.0' in once.stdout.splitlines()
    assert celeriac(one_stage, "metrics", "--rules").stdout == rules()
    assert json.loads(celeriac(one_stage, "metrics", "--dashboard").stdout)["title"] == "Celeriac"
    both = celeriac(one_stage, "metrics", "--dashboard", "--rules")
    assert (both.returncode, both.stdout) == (2, "")


def test_openmetrics_is_given_to_who_asks_for_it(stage: Stage) -> None:
    with exporter(stage) as scraped:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{scraped.port}/metrics", headers={"Accept": "application/openmetrics-text"}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert answer.read().decode().endswith("# EOF\n")
        assert scraped.get("/nothing")[0] == 404
