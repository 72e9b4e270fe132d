"""What cells came to, added up in a file over all seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.django.matrix.campaign import Cell
from tests.django.matrix.verdict import BROKEN
from tests.setting import commit, write_run

__all__ = ["Figures", "totals"]


class Figures:
    """The file is whole at any time; without one, figures are only kept in memory."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        found = file is not None and file.exists()
        self._cells: list[dict[str, Any]] = (
            msgspec.json.decode(file.read_bytes())["cells"] if file and found else []
        )

    def add(self, cell: Cell, seed: int, runs: int, result: dict[str, Any]) -> None:
        """Put the figures in the place of those of the same cell and seed."""
        head = {**_pair(cell), "relay": "worker" if cell.embedded else "own", "seed": seed}
        made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
        others = [one for one in self._cells if {name: one[name] for name in head} != head]
        self._cells = [*others, {**head, **made, **result}]
        if self._file is not None:
            new = self._file.with_suffix(".new")
            write_run(new, {"runs": runs, "seed": seed}, {"cells": self._cells})
            new.rename(self._file)

    def runs(self, cell: Cell) -> int:
        """How many runs there have been on the pair of this cell, wherever the relay was."""
        return sum(totals(one)["runs"] for one in self._of(cell))

    def last_seed(self, cell: Cell) -> int:
        """The last seed on the pair of this cell; 0 if there was none."""
        return max((int(one["seed"]) for one in self._of(cell)), default=0)

    def _of(self, cell: Cell) -> Iterable[dict[str, Any]]:
        pair = _pair(cell)
        return (one for one in self._cells if {name: one[name] for name in pair} == pair)


def totals(result: dict[str, Any]) -> Counter[str]:
    """Add all steps up."""
    found: Counter[str] = Counter({"runs": 0, **dict.fromkeys(BROKEN, 0)})
    for step in result["steps"].values():
        found.update({name: step[name] for name in ("runs", "committed", "repeated", *BROKEN)})
    return found


def _pair(cell: Cell) -> dict[str, str]:
    return {"kind": cell.kind, "database": cell.database, "broker": cell.broker}
