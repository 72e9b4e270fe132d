"""All cells, as often as asked: ``python -m tests.django.matrix --runs 3``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tests.django.matrix.campaign import Cell, run_cell
from tests.django.matrix.figures import Figures, totals
from tests.django.matrix.verdict import BROKEN

_DATABASES = ("postgres", "mariadb", "sqlite")
_BROKERS = ("redis", "sqlite", "rabbitmq")
_KINDS = ("celeriac", "delay", "delay_on_commit", "django-celery-outbox")
_RELAYS = ("own", "worker", "both")
#: A cell waits for most of its time: for servers to start, and for leases to run out.
_JOBS = 2 * (os.cpu_count() or 1)


@click.command(context_settings={"show_default": True})
@click.option("--runs", default=3, type=click.IntRange(min=1), help="Of each step in each cell and seed.")
@click.option("--seconds", default=3600.0, help="At most so many are spent on killing in each cell and seed.")
@click.option("--seed", default=1, type=click.IntRange(min=0), help="Decides order and time of all kills.")
@click.option(
    "--goal",
    default=0,
    help="Further seeds follow the last one in the file until each cell has so many runs there.",
)
@click.option("--jobs", default=_JOBS, type=click.IntRange(min=1), help="Cells at a time.")
@click.option("--database", "databases", multiple=True, type=click.Choice(_DATABASES), default=_DATABASES)
@click.option("--broker", "brokers", multiple=True, type=click.Choice(_BROKERS), default=_BROKERS)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), default=("celeriac",))
@click.option(
    "--relay",
    default="own",
    type=click.Choice(_RELAYS),
    help="In which process it is; both: with even seeds the worker.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where figures are added to others.")
def main(
    databases: tuple[str, ...],
    brokers: tuple[str, ...],
    kinds: tuple[str, ...],
    relay: str,
    file: Path | None,
    **options: Any,
) -> None:
    """Kill producers, relays and workers at every step, on every pair of database and broker.

    Example: python -m tests.django.matrix --runs 10 --seed 7 --database postgres --broker redis
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    campaign = _Campaign(relay, Figures(file), **options)
    sys.exit(1 if campaign.run(_cells(kinds, databases, brokers)) else 0)


def _cells(kinds: Iterable[str], databases: Iterable[str], brokers: Iterable[str]) -> list[Cell]:
    return [
        Cell(kind, database, broker)
        for kind in kinds
        for database in databases
        for broker in brokers
        if kind == "celeriac" or broker != "sqlite"
    ]


class _Campaign:
    """Cells in turn, several at a time."""

    def __init__(
        self, relay: str, figures: Figures, *, runs: int, seconds: float, seed: int, goal: int, jobs: int
    ) -> None:
        self._relay = relay
        self._figures = figures
        self._runs = runs
        self._seconds = seconds
        self._seed = seed
        self._goal = goal
        self._jobs = jobs
        self._console = Console()

    def run(self, cells: Iterable[Cell]) -> bool:
        """Return whether a promise was broken."""
        broken = False
        todo = deque(cell for cell in cells if self._lacks_runs(cell))
        stopped = threading.Event()
        running: dict[Future[dict[str, Any]], tuple[Cell, int]] = {}
        with ThreadPoolExecutor(self._jobs) as threads:
            try:
                while todo or running:
                    while todo and len(running) < self._jobs:
                        cell, seed = self._next(todo.popleft())
                        started = threads.submit(self._work(cell, seed, stopped))
                        running[started] = cell, seed
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        cell, seed = running.pop(done)
                        broken |= self._add(cell, seed, done.result())
                        if self._goal and self._lacks_runs(cell):
                            todo.append(cell)
            finally:
                stopped.set()
        return broken

    def _lacks_runs(self, cell: Cell) -> bool:
        return not self._goal or self._figures.runs(cell) < self._goal

    def _next(self, cell: Cell) -> tuple[Cell, int]:
        seed = max(self._seed, self._figures.last_seed(cell) + 1) if self._goal else self._seed
        embedded = self._relay == "worker" or (self._relay == "both" and seed % 2 == 0)
        return replace(cell, embedded=embedded), seed

    def _work(self, cell: Cell, seed: int, stopped: threading.Event) -> Callable[[], dict[str, Any]]:
        return lambda: run_cell(cell, self._runs, seed, seconds=self._seconds, stopped=stopped)

    def _add(self, cell: Cell, seed: int, result: dict[str, Any]) -> bool:
        """Show and keep the figures; return whether a promise was broken that is ours."""
        found = totals(result)
        self._console.print(
            f"{cell}, seed {seed}: {dict(found)} in {result['seconds']:g} s", markup=False, soft_wrap=True
        )
        for step, figures in result["steps"].items():
            if "examples" in figures:
                self._console.print(f"  {step}: {figures['examples']}", markup=False, soft_wrap=True)
        for what in (*result["missed"], *result["dead"]):
            self._console.print(f"  {what}", markup=False, soft_wrap=True)
        self._figures.add(cell, seed, self._runs, result)
        return cell.kind == "celeriac" and any(found[what] for what in BROKEN)


if __name__ == "__main__":
    main()
