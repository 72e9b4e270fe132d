"""A long campaign with a bar and a table: ``python -m tests.chaos --kills 1000``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec
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

from tests.chaos.campaign import Campaign, plan
from tests.chaos.tripwires import FAULTS
from tests.chaos.verdict import Verdict
from tests.servers import redis_server
from tests.setting import write_run

#: Broken promises after which the rest of a campaign tells nothing new.
_ENOUGH = 20


@click.command(context_settings={"show_default": True})
@click.option("--kills", default=1000, type=click.IntRange(min=1), help="How many faults are met.")
@click.option("--seed", default=1, type=click.IntRange(min=0), help="Decides their order and the load.")
@click.option("--broker", default="redis", type=click.Choice(["redis", "sqlite"]), help="What is under test.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the figures go.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and ledger in this folder.")
def main(kills: int, seed: int, broker: str, file: Path | None, keep: Path | None) -> None:
    """Kill, stop and cut off workers at every named step; count what was lost.

    The first Ctrl-C lets it judge what was met so far.

    Example: python -m tests.chaos --kills 200 --broker sqlite
    """
    console = Console() if sys.stdout.isatty() else Console(width=120)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no worker is left behind
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty: name a new folder", param_hint="--keep")
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        redis = stack.enter_context(redis_server()) if broker == "redis" else None
        campaign = Campaign(folder, redis, seed)
        with campaign.running():
            _meet_all(console, campaign, plan(seed, kills, campaign.broker, restarts=redis is not None))
            verdict = campaign.verdict()
        rows = campaign.ledger_rows()
    took = time.monotonic() - began
    console.print(_matrix(campaign.met))
    console.print(_summary(verdict, sum(campaign.met.values()), rows, took))
    for broken in verdict.broken:
        console.print(broken, style="red", markup=False)
    if file is not None:
        figures = {
            "took_seconds": round(took, 1),
            "met": sum(campaign.met.values()),
            "met_by_step": _by_step(campaign.met),
            "ledger_rows": rows,
            **msgspec.to_builtins(verdict),
        }
        write_run(file, {"kills": sum(campaign.met.values()), "seed": seed, "broker": broker}, figures)
        console.print(f"Figures: {file}")
    sys.exit(1 if verdict.broken else 0)


def _meet_all(console: Console, campaign: Campaign, planned: list[tuple[str, str]]) -> None:
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: sys.exit(1) if interrupted.is_set() else interrupted.set())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=2, transient=True) as progress:
        task = progress.add_task("faults", total=len(planned))
        for step, fault in planned:
            progress.update(task, description=f"{fault}, {step}".ljust(32))
            campaign.meet(step, fault)
            progress.advance(task)
            if interrupted.is_set() or len(campaign.unexpected) >= _ENOUGH:
                break


def _by_step(met: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    steps: dict[str, dict[str, int]] = {}
    for (step, fault), number in sorted(met.items()):
        steps.setdefault(step, {})[fault] = number
    return steps


def _matrix(met: Counter[tuple[str, str]]) -> Table:
    table = Table(title="Faults met at each step", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for fault in FAULTS:
        table.add_column(fault, justify="right")
    for step, faults in _by_step(met).items():
        table.add_row(step, *(f"{faults.get(fault, 0) or ''}" for fault in FAULTS))
    return table


def _summary(verdict: Verdict, met: int, rows: int, took: float) -> Table:
    title = f"{met:,} faults met in {took:,.0f} s, load {os.getloadavg()[0]:.1f}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for name, number in (
        ("tasks accepted", verdict.accepted),
        ("done", verdict.done),
        ("dead letters", verdict.dead),
        ("repeated, explained by a fault", verdict.repeated - len(verdict.beyond)),
        ("rows of the ledger", rows),
    ):
        table.add_row(name, f"{number:,}")
    for name, broken in (
        ("lost", verdict.lost),
        ("repeated beyond the contract", verdict.beyond),
        ("stuck", verdict.stuck),
        ("unexpected", verdict.unexpected),
    ):
        table.add_row(name, f"{len(broken):,}", style="red" if broken else "green")
    return table


if __name__ == "__main__":
    main()
