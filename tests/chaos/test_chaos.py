"""A short campaign on each broker; and a verdict that finds what it is to find."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from celeriac.core.lease import DeadLetter
from celeriac.core.message import Message
from tests.chaos.campaign import STEPS, Campaign, plan
from tests.chaos.verdict import Affected, judge
from tests.servers import RedisServer, redis_server
from tests.workers import Ledger

FAULTS_EACH = 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", ["redis", "sqlite"])
def test_a_fleet_loses_nothing_whatever_befalls_it(broker: str, tmp_path: Path) -> None:
    if broker == "redis":
        with redis_server() as server:  # of its own: it is killed and restarted
            _run(tmp_path, server)
    else:
        _run(tmp_path, None)


def _run(folder: Path, redis: RedisServer | None) -> None:
    campaign = Campaign(folder, redis, seed=3)
    with campaign.running():
        for step, fault in plan(3, FAULTS_EACH, campaign.broker, restarts=redis is not None):
            assert campaign.meet(step, fault) is not None, campaign.unexpected
        verdict = campaign.verdict()
    assert verdict.broken == []
    assert verdict.accepted > 20
    assert verdict.done >= verdict.accepted - verdict.dead


def test_a_plan_names_every_pair_before_one_comes_again(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, None, seed=1)
    pairs = plan(1, 1000, campaign.broker, restarts=True)
    different = len(set(pairs))
    assert {step.rpartition(" ")[0] for step, _ in pairs} == STEPS.keys() - {"delay"}
    assert len(set(pairs[: different + 30])) == different
    assert pairs == plan(1, 1000, campaign.broker, restarts=True)
    assert pairs != plan(2, 1000, campaign.broker, restarts=True)


# -- The verdict


class Book:
    """A ledger written by hand; process 1 is the one that a fault may excuse."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        Ledger(self.path)

    def note(self, key: str, *whats: str, pid: int = 1) -> None:
        with sqlite3.connect(self.path) as ledger:
            rows = [(key, what, pid, 100.0) for what in whats]
            ledger.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
        ledger.close()


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def letter(reason: str) -> DeadLetter:
    message = Message(queue="celery", payload=b"{}")
    return DeadLetter(id="1", message=message, reason=reason, died_at=0.0, deliveries=1)


def test_what_was_accepted_and_has_no_end_is_lost(book: Book) -> None:
    book.note("late 1", "sending", "accepted", "started")
    book.note("late 2", "sending")
    book.note("late 3", "sending", "accepted", "started", "done")
    verdict = judge(book.path, [], {})
    assert verdict.broken == ["lost: late 1"]
    assert (verdict.accepted, verdict.done) == (2, 1)


@pytest.mark.parametrize("fault", [Affected(1), Affected(1, node=True), Affected(1, 50, 150, node=True)])
def test_a_repeat_is_excused_by_a_fault_of_the_process_that_had_started_it(
    book: Book, fault: Affected
) -> None:
    book.note("late 1", "accepted", "started", "started", "done")
    book.note("late 2", "accepted", "started")
    book.note("late 2", "started", "done", pid=2)
    assert judge(book.path, [], {}).repeated == 2
    assert len(judge(book.path, [], {}).beyond) == 2
    assert judge(book.path, [fault], {}).broken == []
    assert len(judge(book.path, [Affected(3)], {}).beyond) == 2
    assert len(judge(book.path, [Affected(1, 101, 150)], {}).beyond) == 2


def test_what_must_not_start_twice_may_do_so_only_if_its_node_was_cut_off(book: Book) -> None:
    book.note("early 1", "accepted", "started")
    book.note("early 1", "started", "done", pid=2)
    assert len(judge(book.path, [Affected(1)], {}).beyond) == 1
    assert judge(book.path, [Affected(1, node=True)], {}).broken == []


def test_a_dead_letter_needs_a_reason_that_a_fault_explains(book: Book) -> None:
    book.note("early 1", "accepted", "started")
    book.note("late 1", "accepted", "started")
    early = {"early 1": letter("its worker process died while it ran, and it must not start twice")}
    late = {"late 1": letter("its worker died 50 times")}
    assert judge(book.path, [Affected(1)], early | {"late 1": letter("must not start twice")}).unexpected
    assert judge(book.path, [Affected(1)], late).unexpected
    assert judge(book.path, [Affected(1)], early).unexpected == []
    assert judge(book.path, [], early).unexpected
    assert judge(book.path, [], {"nobody": letter("must not start twice")}).unexpected
