"""A long campaign with a bar and a table: ``python -m tests.drain --terminations 1000``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.drain.campaign import Outcome, fleet, run
from tests.servers import redis_server
from tests.setting import write_run


@click.command(context_settings={"show_default": True})
@click.option("--terminations", default=1000, type=click.IntRange(min=1), help="How many pods are ended.")
@click.option("--pods", default=2, type=click.IntRange(min=1), help="How many run at a time.")
@click.option("--seed", default=1, help="The same seed gives the same load and the same victims.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Where the figures go.")
def main(terminations: int, pods: int, seed: int, path: Path | None) -> None:
    """End pods under load as the kubelet does, and judge by a ledger. Ends with 1 for a broken promise."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="celeriac-drain-") as folder,
        redis_server() as redis,
        fleet(Path(folder), redis, seed=seed) as running,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("pods ended", total=terminations)
        outcome = run(running, terminations, pods, lambda _: progress.advance(bar))
    Console().print(_table(outcome))
    if path is not None:
        options = {"terminations": terminations, "pods": pods, "seed": seed, "broker": "redis"}
        write_run(path, options, msgspec.to_builtins(outcome))
    sys.exit(1 if outcome.verdict.lost or outcome.verdict.repeated else 0)


def _table(outcome: Outcome) -> Table:
    verdict = outcome.verdict
    table = Table(box=box.SIMPLE, show_header=False)
    for name, value in {
        "pods ended": outcome.terminations,
        "ran dry before TERM": outcome.drained,
        "killed at the end of the grace": outcome.killed,
        "longest end, seconds": outcome.end_seconds_max,
        "tasks accepted": verdict.accepted,
        "done": verdict.done,
        "lost": len(verdict.lost),
        "repeated": len(verdict.repeated),
        "cut short": len(verdict.cut_short),
    }.items():
        table.add_row(name, f"{value:,}")
    return table


if __name__ == "__main__":
    main()
