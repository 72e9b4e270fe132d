"""Runs many schedules with a bar and a summary, or one with its trace: ``python -m tests.simulation``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from tests.simulation.long_run import LongRun
from tests.simulation.many import Totals, trace_of

#: So many failing seeds are enough to look at.
_ENOUGH = 10
_CORES = len(os.sched_getaffinity(0))


@click.command(context_settings={"show_default": True})
@click.option("--schedules", default=1_000_000, type=click.IntRange(min=1), help="How many to run.")
@click.option("--first", default=0, type=click.IntRange(min=0), help="The seed of the first.")
@click.option("--processes", default=_CORES, type=click.IntRange(min=1), help="How many at a time.")
@click.option("--seed", type=click.IntRange(min=0), help="Run only this one, and show what happens in it.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the summary goes.")
@click.option("--go-on", is_flag=True, help="Go on where the run ended that wrote the summary.")
def main(
    schedules: int, first: int, processes: int, seed: int | None, file: Path | None, go_on: bool
) -> None:
    """Run the engine through seeded schedules of crashes, delays, skewed clocks and reordering.

    Example: python -m tests.simulation --schedules 10000 --processes 2
    """
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if seed is not None:
        sys.exit(_replay(console, seed))
    run = LongRun(first, schedules, processes, file)
    if go_on:
        run.take_up()
    totals = _run(console, run)
    console.print(_table(totals, run.first, run.took))
    if file is not None:
        run.save()
        console.print(f"Summary: {file}")
    if totals.violations:
        _replay(console, min(totals.violations))
        console.print(f"Seeds that break a promise: {', '.join(map(str, sorted(totals.violations)))}")
        sys.exit(1)


def _run(console: Console, run: LongRun) -> Totals:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=2, transient=True) as progress:
        task = progress.add_task("schedules", total=run.schedules, completed=run.totals.schedules)
        for totals in run.go():
            progress.update(task, completed=totals.schedules)
            if len(totals.violations) >= _ENOUGH:
                break
    return run.totals


def _replay(console: Console, seed: int) -> int:
    """Show one schedule line by line; return 1 if it breaks a promise."""
    lines, outcome = trace_of(seed)
    console.print(f"Seed {seed}:", style="bold")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    broken = outcome.violation is not None
    console.print(
        f"{outcome.messages} messages, {outcome.starts} starts, {outcome.done} done, {outcome.dead} dead:"
        f" {outcome.violation or 'every promise was kept'}",
        style="red" if broken else "green",
        markup=False,
    )
    console.print(f"Again: make simulate ARGS='--seed {seed}'")
    return int(broken)


def _table(totals: Totals, first: int, took: float) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.title = (
        f"{totals.schedules:,} schedules, seeds {first} to {first + totals.schedules - 1}, in {took:,.0f} s"
    )
    for heading in ("", "in all", "least", "most"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("messages", "starts", "repeats", "dead", "seconds"):
        whole = f"{getattr(totals, name):,.0f}"
        table.add_row(name, whole, f"{totals.least[name]:,.4g}", f"{totals.most[name]:,.4g}")
    for kind, number in totals.injected.most_common():
        table.add_row(f"fault: {kind}", f"{number:,}")
    table.add_row(
        "promises broken", f"{len(totals.violations):,}", style="red" if totals.violations else "green"
    )
    return table


if __name__ == "__main__":
    main()
