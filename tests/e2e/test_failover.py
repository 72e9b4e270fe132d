"""A worker follows Redis Sentinel to the new master."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from celeriac import DuplicateTask, Unique
from celeriac.brokers.connect import open_broker
from celeriac.core.broker import Broker
from tests.sentinels import NAME, Sentinels, sentinels
from tests.servers import RedisServer, free_port, wait_until
from tests.stage import Stage
from tests.workers import worker

OPTIONS = {"master_name": NAME}
LIMITED = "tests.apps.limited"


@pytest.fixture
def trio() -> Iterator[Sentinels]:
    with sentinels() as running:
        yield running


class SentinelStage(Stage):
    """Results lie elsewhere, as they are not what is tested."""

    def __init__(self, folder: Path, trio: Sentinels) -> None:
        super().__init__(folder, trio.master, trio.url, f"sqlite:///{folder}/results.db")
        self.app.conf.broker_transport_options = {**OPTIONS, "global_keyprefix": self.prefix}

    def broker(self) -> Broker:
        return open_broker(self.url, {**OPTIONS, "global_keyprefix": self.prefix})

    def conf(self) -> str:
        return json.dumps({"broker_transport_options": {**OPTIONS, "global_keyprefix": self.prefix}})


@pytest.mark.shows("setting", "broker_url")
@pytest.mark.shows("beyond", "failover by Redis Sentinel")
def test_a_worker_follows_the_sentinels_to_the_new_master(trio: Sentinels, tmp_path: Path) -> None:
    stage = SentinelStage(tmp_path, trio)
    with stage.worker("-c", "2", "-n", "one@test", CONF=stage.conf()) as process:
        for number in range(300):
            stage.send("effect", f"task-{number}", 0.01)
        assert trio.is_in_step()
        wait_until(lambda: stage.ledger.count("done") >= 60)
        trio.master.kill()
        assert stage.ledger.count("done") < 300
        wait_until(trio.has_new_master, timeout=30, what="the failover")
        wait_until(lambda: len(stage.ledger.keys("done")) == 300, timeout=40)
        # Only what the replica had not heard of when the master died: the last few milliseconds.
        assert stage.ledger.count("done") <= 320
        assert stage.send("effect", "after").get(timeout=10) == "after"
        wait_until(lambda: stage.app.control.ping(timeout=1, destination=["one@test"]), timeout=40)
        assert process.stop() == 0
        assert "stock worker" not in process.text


@pytest.mark.shows("beyond", "failover by Redis Sentinel", "max_concurrency", "unique")
def test_limits_follow_the_sentinels_without_a_url_of_their_own(trio: Sentinels, tmp_path: Path) -> None:
    stage = SentinelStage(tmp_path, trio)
    conf = {**json.loads(stage.conf()), "limits_unique_unreachable": "raise"}
    environment = {**stage.environment(), "CONF": json.dumps(conf)}
    rule = Unique(args=("key",), until="expiry", within=600, duplicate="raise")

    def send_once() -> None:
        stage.app.send_task(f"{LIMITED}.once", kwargs={"key": "only"}, unique=rule)

    with worker(LIMITED, "-c", "4", environment=environment, log=tmp_path / "limited.log") as process:
        send_once()
        for number in range(60):
            stage.app.send_task(f"{LIMITED}.few", (f"{number}", "account", 0.05))
        wait_until(lambda: stage.ledger.count("ended", "account") >= 10)
        assert trio.is_in_step()
        trio.master.kill()
        wait_until(trio.has_new_master, timeout=30, what="the failover")
        wait_until(lambda: stage.ledger.count("ended", "account") >= 60, timeout=60)
        with pytest.raises(DuplicateTask):
            send_once()
        assert process.stop() == 0
    assert stage.ledger.count("started", "only") == 1


@pytest.mark.shows("setting", "broker_failover_strategy")
def test_a_list_of_brokers_runs_on_the_stock_worker(redis: RedisServer, tmp_path: Path) -> None:
    """Each of them has messages of its own, so that no lease could follow."""
    dead = f"redis://127.0.0.1:{free_port()}/0"
    stage = Stage(tmp_path, redis, f"{dead};{redis.url}")
    with stage.worker("-c", "1") as process:
        assert process.text.count("Celery's stock worker runs here instead of Celeriac's engine") == 1
        stage.send("effect", "second").get(timeout=20)
        process.stop()


def test_without_the_name_of_its_master_it_does_not_start(tmp_path: Path) -> None:
    environment: dict[str, Any] = {"BROKER": "sentinel://127.0.0.1:1", "LEDGER": str(tmp_path / "l")}
    with worker("tests.apps.ledger", environment=environment, log=tmp_path / "log", ready=False) as process:
        assert process.process.wait(timeout=20) == 2
    assert "needs the name of its master" in process.text
    assert "Traceback" not in process.text


@pytest.mark.shows("setting", "task_publish_retry", "task_publish_retry_policy")
def test_publishing_while_the_broker_is_away(tmp_path: Path) -> None:
    stage = Stage(tmp_path, None)
    stage.app.conf.broker_url = f"redis://127.0.0.1:{free_port()}/0"
    policy = {"max_retries": 2, "interval_start": 0.01, "interval_step": 0, "interval_max": 0.01}
    stage.app.conf.task_publish_retry_policy = policy
    with pytest.raises(OperationalError):
        stage.send("effect", "nobody")
    with pytest.raises(OperationalError):
        stage.send("effect", "nobody", retry=False)
