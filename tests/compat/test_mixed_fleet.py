"""Stock Celery and Celeriac on the same queues, both directions."""

from __future__ import annotations

import os
import random
import signal

import pytest
from celery import Celery as StockCelery

from tests.servers import wait_until
from tests.stage import APP, Stage
from tests.workers import worker


def stock_app(stage: Stage) -> StockCelery:
    app = StockCelery("stock producer", broker=stage.url, backend=stage.results, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": stage.prefix}
    return app


def environment(stage: Stage) -> dict[str, str]:
    return {
        "BROKER": stage.url,
        "RESULTS": stage.results,
        "LEDGER": str(stage.ledger.path),
        "KEY_PREFIX": stage.prefix,
    }


@pytest.mark.shows("beyond", "mixed fleet")
@pytest.mark.shows("task option", "compression", "priority", "countdown", "expires")
@pytest.mark.shows("setting", "task_protocol")
def test_a_stock_producer_feeds_a_celeriac_worker(redis_stage: Stage) -> None:
    producer = stock_app(redis_stage)
    with redis_stage.worker("-c", "2") as celeriac:
        options = [{}, {"priority": 9}, {"countdown": 0.2}, {"compression": "gzip"}, {"expires": 60}]
        results = [
            producer.send_task(f"{APP}.add", (number, 1), **option) for number, option in enumerate(options)
        ]
        assert [result.get(timeout=10) for result in results] == [1, 2, 3, 4, 5]
        legacy = stock_app(redis_stage)
        legacy.conf.task_protocol = 1
        assert legacy.send_task(f"{APP}.add", (20, 1)).get(timeout=10) == 21
        assert celeriac.stop() == 0


@pytest.mark.shows("beyond", "mixed fleet")
def test_a_celeriac_producer_feeds_a_stock_worker(redis_stage: Stage) -> None:
    stage = redis_stage
    with worker(
        "tests.apps.stock", "-c", "2", environment=environment(stage), log=stage.folder / "stock.log"
    ) as stock:
        assert "Shard-1" not in stock.text
        options = [{}, {"priority": 9}, {"countdown": 0.2}, {"expires": 60}]
        results = [stage.send("add", number, 1, **option) for number, option in enumerate(options)]
        assert [result.get(timeout=10) for result in results] == [1, 2, 3, 4]


@pytest.mark.shows("beyond", "mixed fleet")
def test_both_kinds_of_worker_share_a_queue_while_shards_die(redis_stage: Stage) -> None:
    stage = redis_stage
    chance = random.Random(7)
    log = stage.folder / "stock.log"
    with (
        stage.worker("-c", "2") as celeriac,
        worker("tests.apps.stock", "-c", "1", environment=environment(stage), log=log) as stock,
    ):
        for number in range(300):
            stage.send("effect", f"task-{number}", 0.01)
        both = ("done", "done by stock")
        for done in (60, 120, 180):
            wait_until(lambda done=done: sum(map(stage.ledger.count, both)) >= done)
            os.kill(chance.choice(celeriac.shards()), signal.SIGKILL)
        wait_until(
            lambda: len(stage.ledger.keys("done") | stage.ledger.keys("done by stock")) == 300,
            timeout=40,
        )
        assert stage.ledger.count("done by stock") > 0
        assert stage.ledger.count("done") > 0
        # Neither took what the other was running: only a killed shard's task may have run twice.
        repeated = stage.ledger.count("done") + stage.ledger.count("done by stock") - 300
        assert 0 <= repeated <= 3
        assert celeriac.stop() == 0
        stock.stop()
