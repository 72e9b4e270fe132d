"""A seeded slice of the crash matrix; ``make crash-matrix`` runs all of it, as often as asked."""

from __future__ import annotations

from random import Random

import pytest

from tests.django.matrix.campaign import Cell, run_cell
from tests.django.matrix.steps import steps
from tests.django.matrix.verdict import BROKEN
from tests.django.servers import mariadb_server, postgres_server, rabbitmq_server
from tests.servers import RedisServer

pytestmark = pytest.mark.shows("beyond", "a crash at any step loses no call and repeats no effect")

SEED = 20261123


def slice_of(stock_worker: bool, part: int, parts: int) -> list[str]:
    """One of so many parts of all steps, in a random order."""
    found = [str(step) for step in steps("celeriac", stock_worker=stock_worker)]
    Random(SEED).shuffle(found)
    return found[part::parts]


def judge(cell: Cell, only: list[str]) -> None:
    result = run_cell(cell, 1, SEED, only=only)
    assert result["missed"] == []
    assert result["dead"] == []
    assert sorted(result["steps"]) == sorted(only)
    for step, figures in result["steps"].items():
        assert {what: figures[what] for what in BROKEN} == dict.fromkeys(BROKEN, 0), (step, figures)


def test_on_postgresql_and_redis(redis: RedisServer) -> None:
    with postgres_server() as options:
        cell = Cell("celeriac", "postgres", options, "redis", redis.url)
        judge(cell, slice_of(stock_worker=False, part=0, parts=3))


def test_on_mariadb_and_sqlite() -> None:
    with mariadb_server() as options:
        cell = Cell("celeriac", "mariadb", options, "sqlite", "", embedded=True)
        judge(cell, slice_of(stock_worker=False, part=1, parts=3))


def test_on_sqlite_and_rabbitmq() -> None:
    with rabbitmq_server() as url:
        cell = Cell("celeriac", "sqlite", None, "rabbitmq", url)
        judge(cell, slice_of(stock_worker=True, part=0, parts=4))
