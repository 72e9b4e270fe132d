"""How the outcome of a run is told: a table for people, one JSON object for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from celeriac.demo.scenario import Outcome

__all__ = ["as_json", "show"]

_ROWS_SHOWN = 20


def as_json(outcome: Outcome, broker: str, folder: Path | None) -> str:
    """Return the outcome as one JSON object on one line; seconds are rounded to milliseconds."""
    report: dict[str, Any] = {
        **msgspec.to_builtins(outcome.figures),
        "recovery_seconds": {
            "import": _rounded(outcome.import_recovery),
            "shard": _rounded(outcome.shard_recovery),
            "worker": _rounded(outcome.worker_recovery),
        },
        "seconds": _rounded(outcome.seconds),
        "bad_rows": msgspec.to_builtins(outcome.bad_rows),
        "broker": broker,
        "folder": None if folder is None else str(folder),
    }
    return msgspec.json.encode(report).decode()


def show(console: Console, outcome: Outcome, broker: str) -> None:
    """Print the figures, and the rows that were left out."""
    for bad in outcome.bad_rows[:_ROWS_SHOWN]:
        console.print(
            f"row {bad.row} was left out: {bad.reason}", highlight=False, markup=False, soft_wrap=True
        )
    if (more := len(outcome.bad_rows) - _ROWS_SHOWN) > 0:
        console.print(f"and {more:,} more rows")
    figures = outcome.figures
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    table.add_row("orders committed", f"{figures.committed:,}")
    table.add_row("rolled back on purpose", f"{figures.rolled_back:,}")
    table.add_row("tasks run", f"{figures.tasks_run:,}")
    table.add_row("shipments", f"{figures.shipments:,}")
    table.add_section()
    for name in ("lost", "repeated", "orphans"):
        count = getattr(figures, name)
        table.add_row(name, f"{count:,}", style="bold red" if count else "bold green")
    table.add_section()
    table.add_row("recovery after the import was killed", _seconds(outcome.import_recovery))
    table.add_row("recovery after a shard was killed", _seconds(outcome.shard_recovery))
    table.add_row("recovery after the worker was killed", _seconds(outcome.worker_recovery))
    table.add_row("tasks per second", f"{figures.tasks_per_second:,.0f}")
    table.add_row("broker", broker)
    table.add_row("total time", _seconds(outcome.seconds))
    console.print(table)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
