"""Stock Celery and Celeriac on the same queues, both directions."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections.abc import Callable

import pytest
from celery import Celery as StockCelery
from redis import Redis

from celeriac.core.broker import QueueStats
from tests.servers import wait_until
from tests.stage import APP, Stage
from tests.workers import WorkerProcess, worker

#: All that is in lists and hashes, at one moment.
_HELD = """
local held = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    local kind = redis.call('TYPE', key).ok
    local found = kind == 'list' and redis.call('LRANGE', key, 0, -1)
        or kind == 'hash' and redis.call('HVALS', key) or {}
    for _, value in ipairs(found) do held[#held + 1] = value end
end
return held
"""


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


def stop_with_empty_hands(
    stage: Stage, stock: WorkerProcess, done: Callable[[], set[str]], sent: int
) -> None:
    """The stock worker is paused at a moment when each message is in Redis, or done.

    kombu notes a message only after it has taken it out of its list: a worker that is killed in between
    loses it, and nobody could restore it.
    """
    with Redis.from_url(stage.url) as redis:

        def is_empty_handed() -> bool:
            stock.signal(signal.SIGSTOP)
            held = b"".join(redis.eval(_HELD, 0, f"{stage.prefix}*"))
            found = {name.decode() for name in re.findall(rb"task-\d+", held)} | done()
            if len(found) == sent:
                return True
            stock.signal(signal.SIGCONT)
            return False

        wait_until(is_empty_handed)


@pytest.mark.shows("beyond", "mixed fleet")
def test_workers_of_both_kinds_are_killed_and_nothing_is_lost(redis_stage: Stage) -> None:
    """At last only Celeriac is left, and restores what the stock workers had taken."""
    stage, chance = redis_stage, random.Random(11)
    short = {"visibility_timeout": 5, "global_keyprefix": stage.prefix}
    ours = {"LEASE": "1", "CONF": json.dumps({"broker_transport_options": short})}
    theirs = {**environment(stage), "VISIBILITY": "5"}
    tasks, kills = 600, 0

    def done() -> set[str]:
        return stage.ledger.keys("done") | stage.ledger.keys("done by stock")

    for life in range(3):
        stock_log = stage.folder / f"stock-{life}.log"
        with (
            stage.worker("-c", "2", log=f"life-{life}.log", **ours) as celeriac,
            worker("tests.apps.stock", "-c", "2", environment=theirs, log=stock_log) as stock,
        ):
            for number in range(tasks * life // 3, tasks * (life + 1) // 3):
                stage.send("effect", f"task-{number}", 0.02)
            by_stock = stage.ledger.count("done by stock")
            for more in (10, 20):
                goal = by_stock + more
                wait_until(lambda goal=goal: stage.ledger.count("done by stock") >= goal)
                os.kill(chance.choice(celeriac.shards()), signal.SIGKILL)
                kills += 1
            stop_with_empty_hands(stage, stock, done, tasks * (life + 1) // 3)
            for fated in chance.sample([celeriac, stock], 2):
                fated.kill_group()
                kills += 2
    assert len(done()) < tasks
    with stage.worker("-c", "2", log="last.log", **ours) as last:
        wait_until(lambda: len(done()) == tasks, timeout=60)
        wait_until(lambda: stage.broker().stats(["celery"])["celery"] == QueueStats())
        assert last.stop() == 0
    # Only what ran in a process that was killed has run again.
    repeated = stage.ledger.count("done") + stage.ledger.count("done by stock") - tasks
    assert 0 <= repeated <= kills


@pytest.mark.shows("beyond", "mixed fleet")
def test_neither_kind_takes_what_the_other_runs(redis_stage: Stage) -> None:
    """Though both tasks last longer than leases hold, and one longer than the stock worker's time-out."""
    stage = redis_stage
    short = {"visibility_timeout": 3600, "global_keyprefix": stage.prefix}
    with stage.worker("-c", "1", LEASE="1", CONF=json.dumps({"broker_transport_options": short})) as celeriac:
        stage.send("effect", "ours", 6)
        wait_until(lambda: stage.ledger.count("started") == 1)
        log = stage.folder / "stock.log"
        theirs = {**environment(stage), "VISIBILITY": "1"}
        celeriac.signal(signal.SIGSTOP)  # it claims no more, and its shard holds its lease by itself
        with worker("tests.apps.stock", "-c", "1", environment=theirs, log=log) as stock:
            wait_until(lambda: stage.ledger.count("done") == 1)
            celeriac.signal(signal.SIGCONT)
            assert stage.ledger.count("started by stock") == 0
            stock.stop()
        assert celeriac.stop() == 0
    assert stage.ledger.count("started") == 1
