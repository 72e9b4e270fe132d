"""Flower, as it is published, watches and steers an engine worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.browser import page_text
from tests.flower import Flower, flower
from tests.servers import wait_until
from tests.stage import APP, Stage
from tests.workers import WorkerProcess

NODE = "one@test"


@contextmanager
def watch(stage: Stage) -> Iterator[Flower]:
    """A Flower that has heard of the stage's worker."""
    variables = {"BROKER": stage.url, "RESULTS": stage.results, "KEY_PREFIX": stage.prefix}
    with flower(APP, variables, stage.folder / "flower.log") as watcher:
        watcher.wait_for(NODE)
        yield watcher


@pytest.fixture
def watched(stage: Stage) -> Iterator[tuple[Stage, WorkerProcess, Flower]]:
    """A worker that sends events, and a Flower that has heard of it."""
    with stage.worker("-c", "2", "-E", "-n", NODE) as worker, watch(stage) as watcher:
        yield stage, worker, watcher


@pytest.mark.shows("package", "flower")
def test_flower_knows_the_worker_and_its_tasks(watched: tuple[Stage, WorkerProcess, Flower]) -> None:
    stage, worker, flower = watched
    sent = {"SUCCESS": stage.send("add", 1, 2), "FAILURE": stage.send("fail", "boom")}
    for state, result in sent.items():
        wait_until(lambda r=result, s=state: flower.task(r.id).get("state") == s, what=state)
    assert flower.task(sent["SUCCESS"].id)["result"] == "3"
    assert flower.task(sent["SUCCESS"].id)["worker"] == NODE
    assert flower.task(sent["FAILURE"].id)["exception"] == "ValueError('boom')"
    assert flower.api(f"task/info/{sent['SUCCESS'].id}")["name"] == f"{APP}.add"
    assert flower.api(f"task/result/{sent['SUCCESS'].id}")["result"] == 3

    about = flower.api(f"workers?refresh=1&workername={NODE}")[NODE]
    assert about["stats"]["pid"] == worker.pid
    assert about["stats"]["pool"]["processes"] == worker.shards()
    assert about["stats"]["total"] == {f"{APP}.add": 1, f"{APP}.fail": 1}
    assert f"{APP}.add" in about["registered"]
    assert [queue["name"] for queue in about["active_queues"]] == ["celery"]
    assert about["conf"]["broker_url"].startswith(stage.url.partition(":")[0])

    if stage.prefix:  # it knows no SQLite
        [length] = flower.api("queues/length")["active_queues"]
        assert length["name"] == "celery"
    for page in ("/workers", f"/worker/{NODE}", "/tasks", f"/task/{sent['SUCCESS'].id}"):
        assert "Flower" in flower.page(page)
    assert f'flower_worker_online{{worker="{NODE}"}} 1.0' in flower.page("/metrics")


@pytest.mark.shows("package", "flower")
def test_flower_steers_the_worker(watched: tuple[Stage, WorkerProcess, Flower]) -> None:
    stage, worker, flower = watched
    running = stage.send("effect", "running", 60)
    wait_until(lambda: flower.task(running.id).get("state") == "STARTED", what="the task running")
    flower.api(f"task/revoke/{running.id}", terminate="true")
    wait_until(lambda: flower.task(running.id).get("state") == "REVOKED", what="the task terminated")
    assert running.state == "REVOKED"
    waiting = stage.send("effect", "waiting", queue="extra")
    flower.api(f"task/revoke/{waiting.id}", terminate="false")

    flower.api(f"worker/queue/add-consumer/{NODE}", queue="extra")
    wait_until(lambda: flower.task(waiting.id).get("state") == "REVOKED", what="the task revoked")
    assert stage.ledger.keys("started") == {"running"}
    flower.api(f"worker/queue/cancel-consumer/{NODE}", queue="extra")

    flower.api(f"worker/pool/grow/{NODE}", n=2)
    wait_until(lambda: len(worker.shards()) == 4, what="four shards")
    flower.api(f"worker/pool/shrink/{NODE}", n=3)
    wait_until(lambda: len(worker.shards()) == 1, what="one shard")
    flower.api(f"task/timeout/{APP}.effect", workername=NODE, hard=0.5)
    late = stage.send("effect", "late", 60)
    wait_until(lambda: flower.task(late.id).get("state") == "FAILURE", what="the task timed out")
    flower.api(f"task/rate-limit/{APP}.effect", workername=NODE, ratelimit="5/s")
    flower.api(f"worker/shutdown/{NODE}", now="1")
    assert worker.process.wait(timeout=15) == 0
    wait_until(lambda: flower.api("workers?status=1").get(NODE) is False, what="the worker offline")


@pytest.mark.shows("package", "flower")
def test_flower_calls_tasks_and_counts_what_waits(redis_stage: Stage) -> None:
    stage = redis_stage  # it knows the length of no other broker's queues
    options = ["-c", "1", "-E", "-n", NODE]
    with stage.worker(*options, CONF='{"worker_pool_restarts": true}') as worker, watch(stage) as flower:
        before = worker.shards()
        assert "Restarting" in flower.api(f"worker/pool/restart/{NODE}", n=1)["message"]
        wait_until(lambda: len(worker.shards()) == 1 and worker.shards() != before, what="a new shard")
        assert flower.post(f"task/apply/{APP}.add", args=[1, 2])["result"] == 3
        called = flower.post(f"task/async-apply/{APP}.add", args=[3], kwargs={"y": 4})
        sent = flower.post(f"task/send-task/{APP}.fail", args=["boom"])
        wait_until(lambda: flower.task(called["task-id"]).get("state") == "SUCCESS", what="the call")
        wait_until(lambda: flower.task(sent["task-id"]).get("state") == "FAILURE", what="the message")
        assert [task["name"] for task in flower.api("tasks?state=FAILURE").values()] == [f"{APP}.fail"]
        assert set(flower.api(f"tasks?taskname={APP}.fail")) == {sent["task-id"]}
        assert f"{APP}.add" in flower.api("task/types")["task-types"]

        running = stage.send("effect", "running", 60)
        wait_until(lambda: flower.task(running.id).get("state") == "STARTED", what="the task running")
        for priority in (0, 0, 3, 9, 9):
            stage.send("add", 1, 1, priority=priority)
        [length] = flower.api("queues/length")["active_queues"]
        assert length == {"name": "celery", "messages": 5}
        about = flower.api(f"workers?refresh=1&workername={NODE}")[NODE]
        assert [task["id"] for task in about["active"]] == [running.id]


@pytest.mark.shows("package", "flower")
def test_its_pages_show_the_worker_and_its_tasks_in_a_browser(redis_stage: Stage) -> None:
    stage = redis_stage
    with stage.worker("-c", "2", "-E", "-n", NODE) as worker, watch(stage) as flower:
        added, failed = stage.send("add", 1, 2), stage.send("fail", "boom")
        for task, state in ((added, "SUCCESS"), (failed, "FAILURE")):
            wait_until(lambda t=task, s=state: flower.task(t.id).get("state") == s, what=state)
        assert f"{NODE} Online 0 2 1 1 " in page_text(f"{flower.url}/workers")
        about = page_text(f"{flower.url}/worker/{NODE}")
        assert "Implementation Celeriac:prefork Max concurrency 2" in about
        assert "Processes {}, {}".format(*worker.shards()) in about
        tasks = page_text(f"{flower.url}/tasks")
        assert re.search(rf"{APP}\.add {added.id} \S+ SUCCESS .* ms {NODE}", tasks)
        assert re.search(rf"{APP}\.fail {failed.id} \S+ FAILURE .* {NODE}", tasks)
        assert "ValueError: boom" in page_text(f"{flower.url}/task/{failed.id}")

        stage.send("effect", "running", 60)
        stage.send("effect", "running", 60)
        wait_until(lambda: stage.ledger.count("started") == 2, what="both shards busy")
        for _ in range(3):
            stage.send("add", 1, 1)
        assert "celery 3" in page_text(f"{flower.url}/broker")
        worker.kill_group()
