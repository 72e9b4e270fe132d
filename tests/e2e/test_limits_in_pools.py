"""Limits and unique tasks hold in every pool of the engine, for plain functions and for coroutines."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from tests.limited_fleet import Fleet, most_at_once, most_within
from tests.servers import RedisServer, redis_server, wait_until
from tests.stage import Stage
from tests.workers import WorkerProcess

#: The pool and what the names of its tasks end with.
POOLS = {
    "threads": ("threads", ""),
    "threads, coroutines": ("threads", "_native"),
    "asyncio": ("asyncio", ""),
    "asyncio, coroutines": ("asyncio", "_native"),
}
SLOTS = 6


class Pools(Fleet):
    """A fleet of one kind of pool, and the tasks for it."""

    def __init__(self, stage: Stage, pool: str, ending: str, **conf: Any) -> None:
        super().__init__(stage, **conf)
        self.pool = pool
        self.ending = ending

    def start(self, log: str = "worker.log", count: int = SLOTS) -> AbstractContextManager[WorkerProcess]:
        return self.worker(count=count, log=log, options=("-P", self.pool))

    def task(self, name: str) -> str:
        return f"{name}{self.ending}"

    def starts(self, key: str) -> None:
        """Return once what has this key has started."""
        wait_until(lambda: self.ledger.count("started", key) == 1, what=f"the start of {key}")

    def runs_to_its_end(self, key: str) -> None:
        wait_until(lambda: self.ledger.count("ended", key) == 1, what=f"the end of {key}")


@pytest.fixture(params=POOLS.values(), ids=POOLS.keys())
def pools(request: pytest.FixtureRequest, stage: Stage) -> Pools:
    """A fleet of each pool on each broker."""
    return Pools(stage, *request.param)


@pytest.mark.shows("beyond", "max_concurrency", "async def tasks")
def test_never_more_than_may_run_at_once(pools: Pools) -> None:
    with pools.start("one.log") as one, pools.start("two.log") as two:
        few = pools.task("few")
        sent = [pools.send(few, f"{n}", f"account {n % 2}", 0.1) for n in range(36)]
        assert [result.get(timeout=60) for result in sent] == [0] * 36, "a retry was used up"
        assert (one.stop(), two.stop()) == (0, 0)
    for account in ("account 0", "account 1"):
        assert pools.ledger.count("ended", account) == 18
        assert 2 <= most_at_once(pools, account) <= 3
    assert all(f".{few}[" in worker.text for worker in (one, two)), "one worker did it all"


@pytest.mark.shows("beyond", "global_rate_limit", "async def tasks")
def test_never_more_than_may_start_in_a_window(pools: Pools) -> None:
    with pools.start("one.log"), pools.start("two.log"):
        for number in range(25):
            pools.send(pools.task("rated"), f"{number}")
        wait_until(lambda: pools.ledger.count("started") == 25, 60, "25 starts")
    times = pools.ledger.times("started")
    # A start is written down a little after it was let through, hence a window that is a little shorter.
    assert most_within(times, 0.8) <= 10
    assert max(times) - min(times) > 1.5


@pytest.mark.shows("beyond", "unique", "async def tasks")
def test_a_unique_task_counts_until_it_has_ended(pools: Pools) -> None:
    once = pools.task("once")

    def accepts(key: str) -> bool:
        return pools.accepts(key, task=once)

    with pools.start():
        first = pools.send_once("good", once, until_file=pools.until)
        pools.starts("good")
        assert not accepts("good")
        pools.until.touch()
        assert first.get(timeout=20) == "good"
        wait_until(lambda: accepts("good"), what="being accepted")

        with pytest.raises(ValueError, match="as asked"):
            pools.send_once("bad", once, then="fail").get(timeout=20)
        wait_until(lambda: accepts("bad"), what="being accepted")

        retried = pools.send_once("retried", once, then="retry")
        pools.starts("retried")
        assert not accepts("retried")
        assert retried.get(timeout=20) == "retried"
        wait_until(lambda: accepts("retried"), what="being accepted")


@pytest.mark.shows("beyond", "max_concurrency", "async def tasks")
def test_the_place_of_a_killed_worker_is_free_again(pools: Pools) -> None:
    alone = pools.task("alone")
    with pools.start("doomed.log") as doomed:
        pools.send(alone, "holder", str(pools.until))
        pools.starts("holder")
        with pools.start("other.log"):
            pools.send(alone, "heir")
            wait_until(lambda: pools.stage.broker().stats(["celery"])["celery"].delayed == 1)
            assert pools.ledger.count("started", "heir") == 0
            doomed.kill_group()
            pools.until.touch()  # as the holder may run again
            pools.runs_to_its_end("heir")


@pytest.mark.shows("beyond", "max_concurrency", "unique", "async def tasks")
def test_what_was_given_up_keeps_neither_its_place_nor_others_away(pools: Pools) -> None:
    pools.conf["limits_lease_seconds"] = 30.0
    alone, once = pools.task("alone"), pools.task("once")
    with pools.start() as worker:
        overdue = pools.send(alone, "overdue", str(pools.until), time_limit=1)
        with pytest.raises(TimeLimitExceeded):
            overdue.get(timeout=20)
        pools.send(alone, "after it")
        pools.runs_to_its_end("after it")

        revoked = pools.send(alone, "revoked", str(pools.until))
        pools.starts("revoked")
        revoked.revoke(terminate=True)
        with pytest.raises(TaskRevokedError):
            revoked.get(timeout=20)
        pools.send(alone, "after that")
        pools.runs_to_its_end("after that")

        unique = pools.send_once("gone", once, until_file=pools.until)
        pools.starts("gone")
        unique.revoke(terminate=True)
        wait_until(lambda: pools.accepts("gone", task=once), what="being accepted")
        pools.until.touch()
        assert worker.stop() == 0


@pytest.fixture
def hanging_store() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.shows("beyond", "max_concurrency", "async def tasks")
def test_nothing_that_asks_the_store_blocks_the_event_loop(
    redis_stage: Stage, hanging_store: RedisServer, tmp_path: Path
) -> None:
    fleet = Pools(redis_stage, "asyncio", "_native", limits_url=hanging_store.url, engine_lease_seconds=9.0)
    end = tmp_path / "end"
    with fleet.start() as worker:
        pause = fleet.send("longest_pause", str(end))
        fleet.send("few_native", "before", "account", 0.5)
        fleet.send_once("unique before", "once_native", until_file=fleet.until)
        fleet.starts("account")
        fleet.starts("unique before")
        os.kill(hanging_store.pid, signal.SIGSTOP)
        for number in range(3):
            fleet.send("few_native", f"{number}", "account")
        fleet.until.touch()
        worker.wait_log("its limits cannot be looked up")
        worker.wait_log("the place of task")
        worker.wait_log("keeps others away until its time is over")
        os.kill(hanging_store.pid, signal.SIGCONT)
        wait_until(lambda: fleet.ledger.count("ended", "account") == 4, 30)
        end.touch()
        # Whoever asked the store in the loop would have waited three seconds for its answer.
        assert pause.get(timeout=20) < 1.5
        assert worker.stop() == 0
