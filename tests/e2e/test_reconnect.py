"""A worker whose Redis dies, falls silent or moves elsewhere goes on; finished work stays finished."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.core.broker import QueueStats
from tests.proxy import Proxy, proxy
from tests.servers import RedisServer, redis_server, wait_until
from tests.stage import Stage


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own, which forgets nothing that it has confirmed."""
    with redis_server("--appendfsync", "always") as running:
        yield running


@pytest.fixture
def durable(tmp_path: Path, server: RedisServer) -> Stage:
    return Stage(tmp_path, server)


class Line:
    """A worker behind a proxy; what the test sends and asks does not go through it."""

    def __init__(self, stage: Stage, between: Proxy) -> None:
        self.stage = stage
        self.between = between
        self.environment = {
            "BROKER": f"redis://127.0.0.1:{between.port}/0",
            "RESULTS": f"redis://127.0.0.1:{between.port}/1",
        }

    def break_off(self, seconds: float) -> None:
        """Let nothing through for so long; after that, only new connections."""
        self.between.fall_silent()
        time.sleep(seconds)  # as long as the trouble lasts
        self.between.let_through()


@pytest.fixture
def line(durable: Stage, server: RedisServer) -> Iterator[Line]:
    with proxy(server.port) as between:
        yield Line(durable, between)


def all_is_done(stage: Stage, count: int) -> bool:
    return (
        len(stage.ledger.keys("done")) == count and stage.broker().stats(["celery"])["celery"] == QueueStats()
    )


@pytest.mark.shows("beyond", "reconnect after the broker was killed")
@pytest.mark.parametrize("away", [0.0, 3.5])
def test_a_killed_redis_loses_and_repeats_nothing(durable: Stage, server: RedisServer, away: float) -> None:
    """Not even when it was away for longer than the leases hold (2 s)."""
    stage = durable
    with stage.worker("-c", "2") as worker:
        results = [stage.send("effect", f"task-{number}", 0.01) for number in range(300)]
        wait_until(lambda: stage.ledger.count("done") >= 60)
        server.kill()
        assert stage.ledger.count("done") < 300
        worker.wait_log("trying again in")
        time.sleep(away)
        server.start()
        wait_until(lambda: all_is_done(stage, 300), timeout=40)
        assert [result.get(timeout=10) for result in results[::50]] == [
            f"task-{n}" for n in range(0, 300, 50)
        ]
        assert worker.stop() == 0
    assert stage.ledger.count("started") == stage.ledger.count("done") == 300
    assert "had been taken back" not in worker.text


@pytest.mark.shows("beyond", "retries while the broker is away")
def test_a_task_that_retries_while_redis_is_away_runs_again_when_it_is_back(
    durable: Stage, server: RedisServer, tmp_path: Path
) -> None:
    stage = durable
    with stage.worker("-c", "2") as worker:
        stage.send("once_more", "key", str(tmp_path / "away"))
        wait_until(lambda: stage.ledger.count("started") == 1)
        server.kill()
        (tmp_path / "away").touch()
        time.sleep(3.5)  # longer than Celery tries, and than its lease holds
        server.start()
        wait_until(lambda: stage.ledger.count("done") == 1, timeout=40)
        wait_until(lambda: all_is_done(stage, 1), timeout=40)
        assert worker.stop() == 0
    assert stage.ledger.count("started") == 2
    assert stage.broker().dead_letters() == []


@pytest.mark.shows("beyond", "reconnect after a half-open connection")
def test_a_silent_connection_under_a_busy_worker_loses_and_repeats_nothing(line: Line) -> None:
    stage = line.stage
    with stage.worker("-c", "2", **line.environment) as worker:
        for number in range(300):
            stage.send("effect", f"task-{number}", 0.01)
        wait_until(lambda: stage.ledger.count("done") >= 60)
        line.break_off(0.3)
        assert stage.ledger.count("done") < 300
        wait_until(lambda: all_is_done(stage, 300), timeout=40)
        assert worker.stop() == 0
    assert stage.ledger.count("started") == stage.ledger.count("done") == 300


def test_a_silent_connection_under_an_idle_worker_is_replaced(line: Line) -> None:
    stage = line.stage
    with stage.worker("-c", "1", "-n", "one@test", **line.environment) as worker:
        assert stage.send("effect", "before").get(timeout=10) == "before"
        line.break_off(0)
        assert stage.send("effect", "after").get(timeout=20) == "after"
        wait_until(
            lambda: stage.app.control.ping(timeout=1, destination=["one@test"]),
            timeout=40,
            what="remote control",
        )
        assert worker.stop() == 0


def test_a_task_that_outlasts_the_silence_is_not_started_again(line: Line) -> None:
    """Another worker, whose connection is fine, must not take it."""
    stage = line.stage
    with stage.worker("-c", "1", **line.environment) as worker:
        result = stage.send("effect", "long", 6)
        wait_until(lambda: stage.ledger.count("started") == 1)
        with stage.worker("-c", "1", log="other.log"):
            line.break_off(0)
            assert result.get(timeout=20) == "long"
            wait_until(lambda: all_is_done(stage, 1))
        assert worker.stop() == 0
    assert stage.ledger.count("started") == 1
