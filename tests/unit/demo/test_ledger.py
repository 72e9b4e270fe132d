from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from celeriac.demo.ledger import Counts, Kill, Ledger

SCHEMA = """
    CREATE TABLE orders_order (id TEXT PRIMARY KEY);
    CREATE TABLE orders_shipment (order_id TEXT);
    CREATE TABLE orders_ledgerentry (id INTEGER PRIMARY KEY, order_id TEXT, what TEXT, pid INTEGER, at TEXT);
"""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Company:
    """Writes a database by hand, as the tasks of the project would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(SCHEMA)

    def commit(self, *orders: str) -> None:
        self._connection.executemany("INSERT INTO orders_order VALUES (?)", [(order,) for order in orders])

    def note(self, order: str, what: str, *, at: float = 0.0, pid: int = 1) -> None:
        stored = str(datetime.fromtimestamp(NOON + at, UTC).replace(tzinfo=None))
        self._connection.execute(
            "INSERT INTO orders_ledgerentry (order_id, what, pid, at) VALUES (?, ?, ?, ?)",
            [order, what, pid, stored],
        )

    def ship(self, order: str, *, at: float = 0.0, pid: int = 1) -> None:
        self._connection.execute("INSERT INTO orders_shipment VALUES (?)", [order])
        self.note(order, "shipped", at=at, pid=pid)

    def run(self, order: str, *, at: float = 0.0, pid: int = 1) -> None:
        """A task that starts and ships at once."""
        self.note(order, "started", at=at, pid=pid)
        self.ship(order, at=at, pid=pid)


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "logistics.db")


@pytest.fixture
def ledger(company: Company) -> Iterator[Ledger]:
    with closing(Ledger(company.path)) as ledger:
        yield ledger


def test_a_faultless_run(company: Company, ledger: Ledger) -> None:
    company.commit("a", "b", "c")
    company.note("x", "rolled back")
    for second, order in enumerate("abc"):
        company.run(order, at=second)
    assert ledger.counts() == Counts(committed=3, rolled_back=1, shipped=3)
    figures = ledger.figures()
    assert (figures.committed, figures.rolled_back, figures.tasks_run, figures.shipments) == (3, 1, 3, 3)
    assert (figures.lost, figures.repeated, figures.orphans) == (0, 0, 0)
    assert figures.tasks_per_second == 1.5
    assert figures.faultless


def test_a_task_that_ran_twice_but_shipped_once_is_no_fault(company: Company, ledger: Ledger) -> None:
    company.commit("a")
    company.note("a", "started", pid=1)
    company.run("a", at=1, pid=2)
    assert ledger.figures().tasks_run == 2
    assert ledger.figures().faultless


def test_a_committed_order_without_shipment_is_lost(company: Company, ledger: Ledger) -> None:
    company.commit("a", "b")
    company.run("a")
    company.note("b", "started")
    assert ledger.figures().lost == 1
    assert not ledger.figures().faultless


def test_each_shipping_beyond_the_first_is_a_repeated_effect(company: Company, ledger: Ledger) -> None:
    company.commit("a", "b")
    company.run("a")
    company.run("b")
    company.note("b", "shipped")
    company.note("b", "shipped")
    assert ledger.figures().repeated == 2
    assert not ledger.figures().faultless


def test_a_second_shipment_of_an_order_is_a_repeated_effect(company: Company, ledger: Ledger) -> None:
    company.commit("a")
    company.run("a")
    company.run("a")
    assert ledger.figures().repeated == 2  # the line in the ledger, and the shipment


@pytest.mark.parametrize("trace", ["started", "orphan", "shipped"])
def test_a_task_for_an_order_that_does_not_exist_is_an_orphan(
    company: Company, ledger: Ledger, trace: str
) -> None:
    company.note("x", "rolled back")
    assert ledger.figures().orphans == 0
    company.note("x", trace)
    company.note("x", trace)
    assert ledger.figures().orphans == 1
    assert not ledger.figures().faultless


def test_a_shipment_of_an_order_that_does_not_exist_is_an_orphan(company: Company, ledger: Ledger) -> None:
    company.ship("x")
    assert ledger.figures().orphans == 1


def test_an_empty_database_has_no_rate(ledger: Ledger) -> None:
    assert ledger.figures().tasks_per_second == 0


def test_the_last_starter_is_one_of_the_processes_asked_about(company: Company, ledger: Ledger) -> None:
    assert ledger.last_starter(frozenset({1, 2})) is None
    for second, pid in enumerate((1, 2, 3)):
        company.run(f"order {pid}", at=second, pid=pid)
    assert ledger.last_starter(frozenset({1, 2, 9})) == 2


def test_recovery_takes_until_a_new_process_starts_a_task(company: Company, ledger: Ledger) -> None:
    kill = Kill(at=NOON + 10, pids=frozenset({1, 2}))
    company.run("a", at=9.5, pid=1)
    company.run("b", at=11, pid=2)
    assert ledger.recovery(kill) is None
    company.run("c", at=12.25, pid=3)
    company.run("d", at=13, pid=3)
    assert ledger.recovery(kill) == pytest.approx(2.25)


def test_recovery_takes_until_what_was_interrupted_is_shipped(company: Company, ledger: Ledger) -> None:
    kill = Kill(at=NOON + 10, pids=frozenset({1}))
    company.note("a", "started", at=9.999, pid=1)
    company.run("b", at=11, pid=3)
    assert ledger.recovery(kill) is None
    company.run("a", at=15.5, pid=3)
    company.run("c", at=20, pid=3)
    assert ledger.recovery(kill) == pytest.approx(5.5)


def test_a_task_started_before_the_kill_is_no_sign_of_recovery(company: Company, ledger: Ledger) -> None:
    company.run("a", at=5, pid=3)
    assert ledger.recovery(Kill(at=NOON + 10, pids=frozenset({1}))) is None


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        Ledger(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
