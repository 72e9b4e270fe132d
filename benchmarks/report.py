"""What a run leaves behind: the setting it was made in, the raw numbers, and a table to read."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from measure import Measurement
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["describe_setting", "print_tables", "write_json"]

#: The measurements of each contender by its name.
Sides = dict[str, list[Measurement]]

_PACKAGES = ("celeriac", "celery", "kombu", "billiard", "redis", "hiredis", "msgspec")


def describe_setting(redis_version: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what somebody needs to know to compare the numbers with others."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _first_value("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _first_value("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "redis": redis_version,
        "packages": {name: version(name) for name in _PACKAGES},
        "options": options,
    }


def write_json(file: Path, setting: dict[str, Any], measurements: Sequence[Measurement]) -> None:
    """Write setting and raw numbers, replacing the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"setting": setting, "measurements": [asdict(measurement) for measurement in measurements]}
    file.write_text(json.dumps(content, indent=1) + "\n")


def print_tables(console: Console, measurements: Sequence[Measurement], names: Sequence[str]) -> None:
    """Print three tables without and three with results; ratios compare the same round of each side."""
    for results in (False, True):
        rounds = [m for m in measurements if m.results == results]
        sides = {name: [m for m in rounds if m.contender == name] for name in names}
        stock = [name for name in sides if name.startswith("celery")]
        setting = "results stored in Redis" if results else "results off"
        if rounds:
            console.print(_throughput(f"Drain of no-op tasks, {setting}", sides, stock))
            console.print(_cost(f"What it takes, {setting}", sides, stock))
            console.print(_publishing(f"Publishing, {setting}", sides, stock))


def _throughput(title: str, sides: Sides, stock: Sequence[str]) -> Table:
    table = _empty_table(title, "tasks/s", *(f"x {name}" for name in stock), "CPU µs/task", "Redis µs/task")
    for name, mine in sides.items():
        table.add_row(
            name,
            _spread([m.tasks_per_second for m in mine], ",.0f"),
            *(_ratio(mine, sides[other], "tasks_per_second") for other in stock),
            _spread([m.worker_cpu_microseconds for m in mine], ",.0f"),
            _spread([m.redis_cpu_microseconds for m in mine], ",.0f"),
        )
    return table


def _cost(title: str, sides: Sides, stock: Sequence[str]) -> Table:
    ratio = [f"x {name}" for name in stock[:1]]
    table = _empty_table(title, "start-up s", "PSS MB idle", "PSS MB drained", *ratio)
    for name, mine in sides.items():
        table.add_row(
            name,
            _spread([m.startup_seconds for m in mine], ".2f"),
            _spread([m.idle_pss_bytes / 1e6 for m in mine], ".0f"),
            _spread([m.drained_pss_bytes / 1e6 for m in mine], ".0f"),
            *(_ratio(mine, sides[other], "drained_pss_bytes") for other in stock[:1]),
        )
    return table


def _publishing(title: str, sides: Sides, stock: Sequence[str]) -> Table:
    table = _empty_table(
        title, ".delay()/s", *(f"x {name}" for name in stock[:1]), "bulk/s", "x .delay() of stock"
    )
    for name, mine in sides.items():
        table.add_row(
            name,
            _spread([m.delays_per_second for m in mine], ",.0f"),
            *(_ratio(mine, sides[other], "delays_per_second") for other in stock[:1]),
            _spread([m.bulk_per_second for m in mine], ",.0f"),
            *(_ratio(mine, sides[other], "bulk_per_second", "delays_per_second") for other in stock[:1]),
        )
    return table


def _empty_table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _ratio(
    mine: Sequence[Measurement], others: Sequence[Measurement], field: str, to_field: str | None = None
) -> str:
    by_round = {other.round: getattr(other, to_field or field) for other in others}
    return _spread([getattr(m, field) / by_round[m.round] for m in mine], ".2f")


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (format(value, form) for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} - {high})"


def _commit() -> str:
    here = Path(__file__).parent
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return git.stdout.strip() or "unknown"


def _first_value(file: str, key: str) -> str:
    lines = [line.partition(":") for line in Path(file).read_text().splitlines()]
    return next((value.strip() for name, _, value in lines if name.strip() == key), "unknown")
