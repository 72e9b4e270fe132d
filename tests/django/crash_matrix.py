"""The whole crash matrix, as often as asked: ``python -m tests.django.crash_matrix --runs 3``."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import django
import pymysql
from django.core.management import call_command
from rich.console import Console
from rich.progress import Progress

from tests.django.crash_cell import CELLS, Verdict, run_cell
from tests.django.servers import mariadb_server, postgres_server
from tests.servers import redis_server
from tests.setting import write_run

_DATABASES = {"postgres": postgres_server, "mariadb": mariadb_server}


@click.command(context_settings={"show_default": True})
@click.option("--runs", default=3, type=click.IntRange(min=1), help="Of each cell.")
@click.option("--seed", default=1, type=click.IntRange(min=0), help="Decides when in a run a step kills.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the figures go.")
def main(runs: int, seed: int, file: Path | None) -> None:
    """Kill producers and relays at every step, on every pair of database and broker.

    Example: python -m tests.django.crash_matrix --runs 10 --seed 7
    """
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-crashes-")))
        databases: dict[str, dict[str, Any]] = {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "default.db")}
        }
        for name, server in _DATABASES.items():
            databases[name] = stack.enter_context(server())
        brokers = {"sqlite": "", "redis": stack.enter_context(redis_server()).url}
        _set_up(databases)
        cells = [
            (cell, alias, broker, seed * 1000 + number)
            for number in range(runs)
            for cell in CELLS
            for alias in databases
            for broker in brokers
        ]
        verdicts: list[tuple[str, Verdict]] = []
        with Progress(console=console, transient=True) as progress:
            for cell, alias, broker, number in progress.track(cells, description="killing"):
                verdict = run_cell(cell, alias, databases[alias], brokers[broker], folder, number)
                verdicts.append((f"{alias}, {broker}: {cell}", verdict))
    _report(console, verdicts, time.monotonic() - began, file, {"runs": runs, "seed": seed})


def _set_up(databases: dict[str, dict[str, Any]]) -> None:
    pymysql.install_as_MySQLdb()
    os.environ["DATABASES"] = json.dumps(databases)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django.settings"
    django.setup()
    for alias in databases:
        call_command("migrate", database=alias, verbosity=0)


def _report(
    console: Console,
    verdicts: list[tuple[str, Verdict]],
    took: float,
    file: Path | None,
    asked: dict[str, int],
) -> None:
    totals: Counter[str] = Counter()
    for place, verdict in verdicts:
        totals["runs"] += 1
        totals["killed"] += verdict.killed
        totals["committed"] += verdict.committed
        totals["repeated"] += verdict.repeated
        for kind in ("lost", "orphans", "beyond", "inversions"):
            totals[kind] += len(getattr(verdict, kind))
        for broken in verdict.broken:
            console.print(f"{place}: {broken}", style="red", markup=False)
    console.print(dict(totals), f"in {took:.0f} s")
    if file is not None:
        write_run(file, asked, {"took_seconds": round(took, 1), **totals})
    sys.exit(1 if any(verdict.broken for _, verdict in verdicts) else 0)


if __name__ == "__main__":
    main()
