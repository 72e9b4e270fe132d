"""A seeded slice of the crash matrix; ``make crash-matrix`` runs all of it, as often as asked."""

from __future__ import annotations

from random import Random

import pytest

from tests.django.matrix.campaign import Cell, run_cell
from tests.django.matrix.faults import faults
from tests.django.matrix.steps import steps
from tests.django.matrix.verdict import BROKEN

pytestmark = pytest.mark.shows("beyond", "a crash at any step loses no call and repeats no effect")

SEED = 20261123


def slice_of(stock_worker: bool, part: int, parts: int) -> list[str]:
    """One of so many parts of all steps, in a random order."""
    found = [str(step) for step in steps("celeriac", stock_worker=stock_worker)]
    Random(SEED).shuffle(found)
    return found[part::parts]


def some_faults(*which: str) -> list[str]:
    """All of these are faults that there are."""
    known = {str(step) for step in faults(["database", "broker"])}
    assert known.issuperset(which)
    return list(which)


def judge(cell: Cell, only: list[str]) -> None:
    result = run_cell(cell, 1, SEED, only=only)
    assert result["missed"] == []
    assert result["dead"] == []
    assert sorted(result["steps"]) == sorted(only)
    for step, figures in result["steps"].items():
        assert {what: figures[what] for what in BROKEN} == dict.fromkeys(BROKEN, 0), (step, figures)


def test_on_postgresql_and_redis() -> None:
    others = some_faults(
        "relay mid publish (broker killed)",
        "relay claimed (stopped)",
        "producer claimed (stopped)",
        "producer in commit (database killed)",
        "relay published (database stopped)",
    )
    judge(Cell("celeriac", "postgres", "redis"), slice_of(stock_worker=False, part=0, parts=3) + others)


def test_on_mariadb_and_sqlite() -> None:
    others = some_faults(
        "worker in effect commit (database killed)",
        "producer in commit (database stopped)",
        "relay mid publish (stopped)",
    )
    cell = Cell("celeriac", "mariadb", "sqlite", embedded=True)
    judge(cell, slice_of(stock_worker=False, part=1, parts=3) + others)


def test_on_sqlite_and_rabbitmq() -> None:
    others = some_faults("relay mid publish (broker killed)", "relay published (stopped)")
    judge(Cell("celeriac", "sqlite", "rabbitmq"), slice_of(stock_worker=True, part=0, parts=4) + others)
