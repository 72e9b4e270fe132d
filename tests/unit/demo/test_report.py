from __future__ import annotations

import io
import json
import re
from pathlib import Path

import msgspec
from rich.console import Console

from celeriac.demo.ledger import Figures
from celeriac.demo.orders_import import BadRow
from celeriac.demo.report import as_json, show
from celeriac.demo.scenario import Outcome

OUTCOME = Outcome(
    figures=Figures(
        committed=9_500,
        rolled_back=500,
        tasks_run=9_503,
        shipments=9_498,
        lost=2,
        repeated=3,
        orphans=0,
        tasks_per_second=412.6,
    ),
    import_recovery=1.5,
    shard_recovery=0.04321,
    worker_recovery=None,
    bad_rows=[BadRow(17, "unknown city 'Atlantis'")],
    seconds=31.5,
)


def test_json_holds_everything() -> None:
    assert json.loads(as_json(OUTCOME, "redis://h/0", Path("/tmp/x"))) == {
        "committed": 9_500,
        "rolled_back": 500,
        "tasks_run": 9_503,
        "shipments": 9_498,
        "lost": 2,
        "repeated": 3,
        "orphans": 0,
        "tasks_per_second": 412.6,
        "recovery_seconds": {"import": 1.5, "shard": 0.043, "worker": None},
        "seconds": 31.5,
        "bad_rows": [{"row": 17, "reason": "unknown city 'Atlantis'"}],
        "broker": "redis://h/0",
        "folder": "/tmp/x",
    }


def shown(outcome: Outcome) -> str:
    text = io.StringIO()
    show(Console(file=text, width=100), outcome, "redis://h/0")
    return text.getvalue()


def test_the_table_holds_every_figure() -> None:
    text = shown(OUTCOME)
    rows = dict(re.findall(r"│ (.+?) +│ +(.+?) │", text))
    assert rows == {
        "orders committed": "9,500",
        "rolled back on purpose": "500",
        "tasks run": "9,503",
        "shipments": "9,498",
        "lost": "2",
        "repeated": "3",
        "orphans": "0",
        "recovery after the import was killed": "1.50 s",
        "recovery after a shard was killed": "0.04 s",
        "recovery after the worker was killed": "-",
        "tasks per second": "413",
        "broker": "redis://h/0",
        "total time": "31.50 s",
    }
    assert "row 17 was left out: unknown city 'Atlantis'" in text


def test_of_many_bad_rows_the_first_are_listed() -> None:
    rows = [BadRow(number, "number is empty") for number in range(2, 1_002)]
    text = shown(msgspec.structs.replace(OUTCOME, bad_rows=rows))
    assert "row 21 was" in text
    assert "row 22 was" not in text
    assert "and 980 more rows" in text
