"""The figures in docs/guarantees.md are those of the last runs, and tell of what was broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.tripwires import FAULTS
from tests.guarantees.ends import ends_tables
from tests.guarantees.matrix import matrix_tables
from tests.guarantees.page import DOCUMENT, filled_in, text
from tests.guarantees.runs import RESULTS, Runs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the figures that a test may change."""
    for file in ("chaos.json", "simulation.json"):
        shutil.copy(RESULTS / file, tmp_path)
    return tmp_path


def change(file: Path, **figures: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | figures))


def test_the_committed_figures_are_those_of_the_last_runs() -> None:
    committed = DOCUMENT.read_text()
    assert committed == filled_in(committed, Runs.read()), "run make guarantees"


def test_a_run_that_was_not_made_is_told(folder: Path) -> None:
    assert "`make soak`, SQLite | not yet" in text(Runs.read(folder))


def test_every_fault_of_the_runs_has_its_row(folder: Path) -> None:
    runs = Runs.read(folder)
    chaos = runs.chaos["Redis"]
    assert chaos is not None
    assert runs.simulation is not None
    page = text(runs)
    assert _sum(page, "chaos, Redis") == chaos.met == sum(chaos.of_fault(fault) for fault in FAULTS)
    assert _sum(page, "simulated") == sum(runs.simulation.injected.values())


def _sum(page: str, heading: str) -> int:
    """The sum of a column of the table of faults, whose cells are like ``1,234, kept``."""
    headings, _, *rows = (line.split(" | ") for line in page.split("\n\n")[1].splitlines())
    column = [cell.strip(" |") for cell in headings].index(heading)
    cells = [row[column].strip(" |").rpartition(",")[0].replace(",", "") for row in rows]
    return sum(int(cell) for cell in cells if cell)


def test_a_broken_promise_shows(folder: Path) -> None:
    assert "**broken**" not in text(Runs.read(folder))
    change(folder / "chaos.json", lost=["late 1"], beyond=["late 2", "late 3"], repeated=9)
    change(folder / "simulation.json", violations={"17": "lost"})
    page = text(Runs.read(folder))
    row = next(line for line in page.splitlines() if line.startswith("| `make chaos`, Redis"))
    assert row.endswith("| 7 | 1 | 2 | 0 | 0 |")
    assert next(line for line in page.splitlines() if "virtual time" in line).endswith("| 0 | 0 | 0 | 1 |")
    assert page.count("**broken**") > len(FAULTS)


def cell(kind: str = "celeriac", **figures: int) -> dict[str, Any]:
    """What the crash matrix writes down of a cell with one step."""
    nothing = dict.fromkeys(("runs", "committed", "repeated", "lost", "not_once", "orphans", "inversions"), 0)
    place = {"kind": kind, "database": "postgres", "broker": "rabbitmq", "relay": "own", "seed": 1}
    made = {"date": "2026-11-23T00:00:00", "commit": "abc", "dead": [], "missed": []}
    return {**place, **made, "steps": {"relay claimed": nothing | figures}}


def test_the_crash_matrix_adds_its_seeds_up_and_shows_what_was_broken(folder: Path) -> None:
    file = folder / "crash-matrix.json"
    assert "not yet" in matrix_tables(Runs.read(folder).matrix)
    cells = [
        cell(runs=3, committed=5),
        cell(runs=4, committed=1) | {"seed": 2},
        cell("delay", runs=9, lost=2),
    ]
    file.write_text(json.dumps({"cells": cells}))
    page = matrix_tables(Runs.read(folder).matrix)
    assert "| PostgreSQL | RabbitMQ | 2026-11-23, commit abc | 1, 2 | 7 | 6 | 0 | 0 | 0 | 0 | 0 |" in page
    assert "| relay claimed |  | 7 | kept |" in page
    assert "| `.delay()` in the transaction | 2026-11-23, commit abc | 9 | 0 | 0 | 2 | 0 | 0 | 0 |" in page
    fault = cell(runs=2) | {"seed": 3}
    fault["steps"] = {f"relay {name} (broker killed)": fault["steps"]["relay claimed"] for name in ("a", "b")}
    file.write_text(json.dumps({"cells": [*cells, fault]}))
    page = matrix_tables(Runs.read(folder).matrix)
    assert "| the broker was killed, while a relay was at work |  | 4 | kept |" in page
    assert "| relay claimed |  | 7 | kept |" in page
    file.write_text(json.dumps({"cells": [cell(runs=3, not_once=1)]}))
    assert "| relay claimed |  | 3 | **broken** |" in matrix_tables(Runs.read(folder).matrix)


def test_the_ends_of_pods_are_told_by_kind_with_what_was_broken(folder: Path) -> None:
    assert "not yet" in ends_tables(Runs.read(folder).ends)
    shutil.copy(RESULTS / "terminations.json", folder)
    verdict = {
        "accepted": 7,
        "done": 5,
        "lost": ["late-1"],
        "repeated": [],
        "run_again": [],
        "buried": ["early-2"],
    }
    change(folder / "terminations.json", verdict=verdict)
    page = ends_tables(Runs.read(folder).ends)
    assert "| 7 | 1 | 0 | 0 | 1 |" in page
    assert "as the manifest says" in page


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        filled_in("# Guarantees", Runs.read())
