"""A seeded slice of the crash matrix; ``make crash-matrix`` runs all of it, as often as asked."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.django.crash_cell import CELLS, Cell, run_cell
from tests.servers import RedisServer

pytestmark = pytest.mark.shows("beyond", "a crash between commit and publish loses no call")

_PAIRS = [(alias, broker) for alias in ("default", "postgres", "mariadb") for broker in ("sqlite", "redis")]
#: Every step once, each on another pair of database and broker.
SLICE = [
    (cell, *_PAIRS[(number * 5 + 1) % len(_PAIRS)])
    for number, cell in enumerate(Random(20261123).sample(CELLS, len(CELLS)))
]


@pytest.mark.parametrize(("cell", "alias", "broker"), SLICE, ids=lambda value: str(value).replace(" ", "-"))
def test_killed_there_nothing_is_lost_and_nothing_invented(
    cell: Cell, alias: str, broker: str, project: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = ""
    if broker == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        url = server.url
    if alias != "default":
        request.getfixturevalue(alias)
    database = {key: value for key, value in project.settings[alias].items() if key in _NAMES}
    verdict = run_cell(cell, alias, database, url, tmp_path, seed=len(str(cell)))
    assert verdict.killed
    assert verdict.broken == []


_NAMES = {"ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT"}
