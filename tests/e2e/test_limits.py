"""Unique and limited tasks on a fleet: Celeriac's workers, Celery's own, and both together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from celery import chord
from celery.exceptions import TaskRevokedError

from celeriac import Unique
from tests.limited_fleet import APP, CELERIAC, STOCK, Fleet, most_at_once, most_within
from tests.servers import RedisServer, redis_server, wait_until
from tests.stage import Stage
from tests.workers import WorkerProcess


@contextmanager
def two_workers(fleet: Fleet, first: dict[str, str], second: dict[str, str]) -> Iterator[list[WorkerProcess]]:
    with ExitStack() as stack:
        kinds = enumerate((first, second))
        yield [stack.enter_context(fleet.worker(kind, log=f"{number}.log")) for number, kind in kinds]


@pytest.fixture(params=["celeriac-sqlite", "celeriac-redis", "stock-redis"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Fleet, dict[str, str]]:
    """A fleet and the kind of its workers."""
    kind, _, broker = request.param.partition("-")
    stage = Stage(tmp_path, request.getfixturevalue("redis") if broker == "redis" else None)
    return Fleet(stage), STOCK if kind == "stock" else CELERIAC


@pytest.fixture(params=["two of Celeriac's on SQLite", "one of each on Redis"])
def mixed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Fleet, dict[str, str], dict[str, str]]:
    """A fleet and the kinds of its two workers."""
    if "SQLite" in request.param:
        return Fleet(Stage(tmp_path, None)), CELERIAC, CELERIAC
    return Fleet(Stage(tmp_path, request.getfixturevalue("redis"))), CELERIAC, STOCK


# -- What runs at the same time, and starts in a window


@pytest.mark.shows("beyond", "max_concurrency")
def test_never_more_than_may_run_at_once_for_each_key(
    mixed: tuple[Fleet, dict[str, str], dict[str, str]],
) -> None:
    fleet, first, second = mixed
    with two_workers(fleet, first, second) as workers:
        sent = [fleet.send("few", f"{n}", f"account {n % 2}", 0.1) for n in range(36)]
        assert [result.get(timeout=60) for result in sent] == [0] * 36, "a retry was used up"
        assert [one.stop() for one in workers] == [0, 0]
    for account in ("account 0", "account 1"):
        assert fleet.ledger.count("ended", account) == 18
        assert 2 <= most_at_once(fleet, account) <= 3
    assert all(".few[" in one.text for one in workers), "one worker did it all"
    assert fleet.stage.broker().stats(["celery"])["celery"].delayed == 0


@pytest.mark.shows("beyond", "global_rate_limit")
def test_never_more_than_may_start_in_a_window(mixed: tuple[Fleet, dict[str, str], dict[str, str]]) -> None:
    fleet, first, second = mixed
    with two_workers(fleet, first, second):
        for number in range(45):
            fleet.send("rated", f"{number}")
        wait_until(lambda: fleet.ledger.count("started") == 45, 60, "45 starts")
    times = fleet.ledger.times("started")
    # A start is written down a little after it was let through, hence a window that is a little shorter.
    assert most_within(times, 0.8) <= 10
    assert max(times) - min(times) > 3.5


# -- Holders that are killed, stores that are away


@pytest.mark.shows("beyond", "max_concurrency")
def test_the_place_of_a_killed_process_is_free_again(either: tuple[Fleet, dict[str, str]]) -> None:
    fleet, kind = either
    with fleet.worker(kind) as one:
        fleet.send("alone", "holder", str(fleet.until))
        wait_until(lambda: fleet.ledger.count("started", "holder") == 1)
        fleet.send("alone", "heir")
        fleet.wait_over_limit(one, kind)
        assert fleet.ledger.count("started", "heir") == 0
        os.kill(fleet.ledger.pid("holder"), signal.SIGKILL)
        wait_until(lambda: fleet.ledger.count("ended", "heir") == 1)


@pytest.mark.shows("beyond", "max_concurrency")
def test_what_a_killed_worker_ran_does_not_wait_for_its_own_place(stage: Stage) -> None:
    fleet = Fleet(stage, limits_lease_seconds=3600)
    with fleet.worker(count=1) as doomed:
        fleet.send("alone_late", "holder", str(fleet.until))
        wait_until(lambda: fleet.ledger.count("started", "holder") == 1)
        doomed.kill_group()
    fleet.until.touch()
    with fleet.worker(count=1, log="second.log"):
        fleet.send("alone_late", "heir")
        wait_until(lambda: fleet.ledger.count("ended", "holder") == fleet.ledger.count("ended", "heir") == 1)


@pytest.mark.shows("beyond", "max_concurrency")
def test_a_task_that_runs_longer_than_its_lease_keeps_its_place(either: tuple[Fleet, dict[str, str]]) -> None:
    fleet, kind = either
    fleet.conf["limits_lease_seconds"] = 1.0
    with fleet.worker(kind) as one:
        fleet.send("alone", "long", str(fleet.until))
        wait_until(lambda: fleet.ledger.count("started", "long") == 1)
        fleet.send("alone", "next")
        [started] = fleet.ledger.times("started", "long")
        fleet.send("few", "clock", "clock", 3.0)
        wait_until(lambda: fleet.ledger.count("ended", "clock") == 1)
        assert fleet.ledger.times("ended", "clock")[0] > started + 2.5
        assert fleet.ledger.count("started", "next") == 0
        fleet.until.touch()
        wait_until(lambda: fleet.ledger.count("ended", "next") == 1)
        assert one.stop() == 0


@pytest.fixture
def separate_store() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.mark.shows("beyond", "max_concurrency", "unique")
@pytest.mark.parametrize("kind", [CELERIAC, STOCK], ids=["celeriac", "stock"])
def test_nothing_is_lost_while_the_store_is_away(
    redis_stage: Stage, separate_store: RedisServer, kind: dict[str, str]
) -> None:
    fleet = Fleet(redis_stage, limits_url=separate_store.url)
    with fleet.worker(kind) as one:
        fleet.send("few", "before", "account")
        wait_until(lambda: fleet.ledger.count("ended") == 1)
        separate_store.stop()
        for number in range(10):
            fleet.send("few", f"{number}", "account")
        first, second = fleet.send_once("twice"), fleet.send_once("twice")
        assert first.get(timeout=20) == second.get(timeout=20) == "twice"
        one.wait_log("its limits cannot be looked up")
        assert fleet.ledger.count("started", "account") == 1
        separate_store.start()
        wait_until(lambda: fleet.ledger.count("ended", "account") == 11, 30)
        assert one.stop() == 0
    assert fleet.ledger.count("started", "account") == 11


# -- Until when a unique task counts


def eventually(condition: Callable[[], bool]) -> None:
    wait_until(condition, what="being accepted")


@pytest.mark.shows("beyond", "unique")
def test_it_counts_until_it_has_ended(either: tuple[Fleet, dict[str, str]]) -> None:
    fleet, kind = either
    with fleet.worker(kind):
        first = fleet.stage.app.send_task(
            f"{APP}.once", kwargs={"key": "good", "until": str(fleet.until)}, unique=Unique(args=("key",))
        )
        assert not fleet.accepts("good")
        wait_until(lambda: fleet.ledger.count("started", "good") == 1)
        assert not fleet.accepts("good")
        fleet.until.touch()
        assert first.get(timeout=20) == "good"
        eventually(lambda: fleet.accepts("good"))

        with pytest.raises(ValueError, match="as asked"):
            fleet.send_once("bad", then="fail").get(timeout=20)
        eventually(lambda: fleet.accepts("bad"))

        retried = fleet.send_once("retried", then="retry")
        wait_until(lambda: fleet.ledger.count("started", "retried") == 1)
        assert not fleet.accepts("retried")
        assert retried.get(timeout=20) == "retried"
        assert fleet.ledger.count("started", "retried") == 2
        eventually(lambda: fleet.accepts("retried"))

        revoked = fleet.stage.app.send_task(
            f"{APP}.once", kwargs={"key": "revoked"}, countdown=1.5, unique=Unique(args=("key",))
        )
        revoked.revoke()
        assert not fleet.accepts("revoked")
        eventually(lambda: fleet.accepts("revoked"))
        assert fleet.ledger.count("started", "revoked") <= 1


@pytest.mark.shows("beyond", "unique")
def test_it_may_count_until_it_starts_and_waits_for_its_limit_before(
    either: tuple[Fleet, dict[str, str]],
) -> None:
    fleet, kind = either
    with fleet.worker(kind) as one:
        fleet.send_once("running", task="once_started", until="started")
        wait_until(lambda: fleet.ledger.count("started", "running") == 1)
        eventually(lambda: fleet.accepts("running", task="once_started", until="started"))
        fleet.until.touch()

        gate = fleet.stage.folder / "gate"
        fleet.send("once_and_alone", "holder", str(gate))
        wait_until(lambda: fleet.ledger.count("started", "holder") == 1)
        fleet.send_once("waits", task="once_and_alone", until="started")
        fleet.wait_over_limit(one, kind)
        assert not fleet.accepts("waits", task="once_and_alone", until="started")
        gate.touch()
        wait_until(lambda: fleet.ledger.count("started", "waits") == 1)
        eventually(lambda: fleet.accepts("waits", task="once_and_alone", until="started"))


@pytest.mark.shows("beyond", "unique")
def test_a_unique_task_whose_process_was_killed_keeps_nobody_away(
    either: tuple[Fleet, dict[str, str]],
) -> None:
    fleet, kind = either
    with fleet.worker(kind, 1) as one:
        sent = fleet.stage.app.send_task(
            f"{APP}.once", kwargs={"key": "killed", "until": str(fleet.until)}, unique=Unique(args=("key",))
        )
        wait_until(lambda: fleet.ledger.count("started", "killed") == 1)
        assert not fleet.accepts("killed")
        os.kill(fleet.ledger.pid("killed"), signal.SIGKILL)
        eventually(lambda: fleet.accepts("killed"))
        fleet.until.touch()
        assert one.stop() == 0
    assert sent.state == "FAILURE"


# -- With what else Celery offers


@pytest.mark.shows("beyond", "max_concurrency", "global_rate_limit")
def test_a_chord_of_limited_tasks_counts_each_once_and_its_links_run(
    either: tuple[Fleet, dict[str, str]],
) -> None:
    fleet, kind = either
    app = fleet.stage.app
    with fleet.worker(kind):
        members = [app.signature(f"{APP}.few", args=(f"{n}", "chord", 0.05)) for n in range(9)]
        result = chord(members, app.signature(f"{APP}.total"), app=app).apply_async()
        assert result.get(timeout=30) == 9
        assert fleet.ledger.count("started", "chord") == 9
        link = app.signature(f"{APP}.rated", args=("linked",), immutable=True)
        for number in range(8):
            fleet.send("few", f"{number}", "links", 0.05, link=link)
        wait_until(lambda: fleet.ledger.count("started", "linked") == 8)
    assert most_at_once(fleet, "chord") <= 3


@pytest.mark.shows("beyond", "max_concurrency")
def test_what_waits_for_its_limit_can_expire_or_be_revoked(either: tuple[Fleet, dict[str, str]]) -> None:
    fleet, kind = either
    with fleet.worker(kind) as one:
        fleet.send("alone", "holder", str(fleet.until))
        wait_until(lambda: fleet.ledger.count("started", "holder") == 1)
        expiring = fleet.send("alone", "expiring", expires=1.0)
        fleet.wait_over_limit(one, kind)
        with pytest.raises(TaskRevokedError):
            expiring.get(timeout=20)
        revoked = fleet.send("alone", "revoked")
        fleet.wait_over_limit(one, kind)
        revoked.revoke()
        with pytest.raises(TaskRevokedError):
            revoked.get(timeout=20)
        fleet.send("alone", "last")
        fleet.until.touch()
        wait_until(lambda: fleet.ledger.count("ended", "last") == 1)
    assert fleet.ledger.keys("started") == {"holder", "last"}
