"""Measures how fast a full queue is drained by stock Celery and by Celeriac, in one run.

    python benchmarks/drain.py --rounds 5

README.md beside this file says how it is measured, and what the numbers do not say.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from contenders import CONTENDERS, Bench, Contender
from measure import Load, Measurement, measure
from private_redis import PrivateRedis, start_redis
from report import describe_setting, print_tables, write_json
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

RESULTS = Path(__file__).resolve().parent / "results"
POSITIVE = click.IntRange(min=1)
NAMES = [contender.name for contender in CONTENDERS]
QUICK = {"rounds": 1, "tasks": 5_000, "stock_tasks": 2_000, "delays": 1_000}


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=3, type=POSITIVE, help="How often everything is measured.")
@click.option("--tasks", default=100_000, type=POSITIVE, help="Tasks a round for Celeriac.")
@click.option("--stock-tasks", default=10_000, type=POSITIVE, help="Tasks a round for stock Celery.")
@click.option("--delays", default=5_000, type=POSITIVE, help="Calls of .delay() a round.")
@click.option("--concurrency", "-c", default=2, type=POSITIVE, help="Processes of each worker.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Leave others out.")
@click.option("--quick", is_flag=True, help="One short round that saves nothing by itself.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the raw numbers go.")
def main(rounds: int, only: tuple[str, ...], quick: bool, file: Path | None, **sizes: int) -> None:
    """Drain a queue of no-op tasks with stock Celery and with Celeriac.

    Example: python benchmarks/drain.py --rounds 5 --json benchmarks/results/drain.json
    """
    if quick:
        rounds = QUICK["rounds"]
        sizes |= {name: QUICK[name] for name in ("tasks", "stock_tasks", "delays")}
    elif file is None:
        file = RESULTS / "drain.json"
    load = Load(**sizes)
    contenders = [contender for contender in CONTENDERS if contender.name in (only or NAMES)]
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if os.getloadavg()[0] > 0.5:
        console.print("Something else runs on this machine: the numbers will be noisy.", style="yellow")
    with start_redis() as redis:
        setting = describe_setting(redis.version, {"rounds": rounds, **sizes})
        measurements = list(run_rounds(console, redis, load, rounds, contenders))
    print_tables(console, measurements, [contender.name for contender in contenders])
    console.print(
        f"Median (min - max) of {rounds} rounds, {load.concurrency} processes each. Rates are per second, so"
        f" stock Celery may drain {load.stock_tasks:,} tasks a round and Celeriac {load.tasks:,}."
    )
    if file is not None:
        write_json(file, setting, measurements)
        console.print(f"Raw numbers and setting: {file}")


def run_rounds(
    console: Console, redis: PrivateRedis, load: Load, rounds: int, contenders: Sequence[Contender]
) -> Iterator[Measurement]:
    """Yield every measurement: without results, then with; the contenders take turns in going first."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn seldom: the display runs on the cores that are measured.
    with Progress(*columns, console=console, refresh_per_second=2, transient=True) as progress:
        for results in (False, True):
            with tempfile.TemporaryDirectory(prefix="celeriac-bench-") as folder:
                bench = Bench(redis, Path(folder), results=results)
                for number in range(1, rounds + 1):
                    turn = (number - 1) % len(contenders)
                    for contender in (*contenders[turn:], *contenders[:turn]):
                        yield run_one(progress, bench, contender, load, number)


def run_one(progress: Progress, bench: Bench, contender: Contender, load: Load, number: int) -> Measurement:
    label = f"{contender.name}, results {'on' if bench.results else 'off'}, round {number}"
    bar = progress.add_task(label, total=load.tasks_of(contender))

    def show(completed: int) -> None:
        progress.update(bar, completed=completed)

    measurement = measure(bench, contender, load, number, show)
    progress.remove_task(bar)
    progress.console.print(f"{label}: {measurement.tasks_per_second:,.0f} tasks/s")
    return measurement


if __name__ == "__main__":
    main()
