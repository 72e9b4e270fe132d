"""Half an hour under a mixed load, with a bar, a table and a picture: ``python -m tests.soak``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.servers import redis_server
from tests.setting import write_run
from tests.soak.books import Books
from tests.soak.picture import draw
from tests.soak.soak import Settings, Soak
from tests.soak.trend import LIMITS, Finding, by_minute

_ANSWERS = {True: "yes", False: "no", None: "too short to tell"}
_STYLES = {True: "green", False: "red", None: "yellow"}


@click.command(context_settings={"show_default": True})
@click.option("--minutes", default=30.0, type=click.FloatRange(min=0.1), help="How long it lasts.")
@click.option("--broker", default="redis", type=click.Choice(["redis", "sqlite"]), help="What is under test.")
@click.option("--rate", default=16.0, type=click.FloatRange(min=0.1), help="Calls a second.")
@click.option("--seed", default=1, type=click.IntRange(min=0), help="Decides the order of the calls.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where figures go, beside a picture.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and ledger in this folder.")
def main(minutes: float, broker: str, rate: float, seed: int, file: Path | None, keep: Path | None) -> None:
    """Run workers under a mixed load, and see whether anything of theirs grows.

    Example: python -m tests.soak --minutes 30 --broker sqlite
    """
    console = Console() if sys.stdout.isatty() else Console(width=120)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no worker is left behind
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty: name a new folder", param_hint="--keep")
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        redis = stack.enter_context(redis_server()) if broker == "redis" else None
        soak = Soak(folder, redis, Settings(lasts=60 * minutes, rate=rate, seed=seed))
        with soak.running():
            _watch(console, soak)
            books = soak.finish()
    findings = soak.findings()
    console.print(_growth(findings))
    console.print(_balance(soak, books, minutes))
    for broken in books.broken:
        console.print(broken, style="red", markup=False)
    if file is not None:
        options = {"minutes": minutes, "broker": broker, "rate": rate, "seed": seed}
        write_run(file, options, _figures(soak, books, findings))
        picture = file.with_suffix(".svg")
        picture.write_text(draw(soak.series))
        console.print(f"Figures: {file}, picture: {picture}")
    sys.exit(1 if books.broken or any(finding.flat is False for finding in findings) else 0)


def _watch(console: Console, soak: Soak) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("ETA"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, refresh_per_second=2, transient=True
    ) as progress:
        task = progress.add_task("soak", total=soak.settings.lasts)
        for now in soak.go_on():
            memory = soak.series["both workers", "shared out"][-1][1] / 1024
            progress.update(
                task, completed=now, description=f"{memory:,.1f} MiB, {len(soak.kills)} shards killed"
            )


def _growth(findings: list[Finding]) -> Table:
    title = "After the warm-up: medians of the first and of the last quarter, and growth"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for heading in ("", "first", "last", "most", "growth", "limit", "flat"):
        table.add_column(heading, justify="left" if not heading else "right")
    for finding in findings:
        limit = LIMITS[finding.quantity]
        by = "/h" if limit.by_the_hour is not None else ""
        table.add_row(
            finding.part,
            f"{finding.quantity}{f', {limit.unit}' if limit.unit else ''}",
            *(f"{value:,.0f}" for value in (finding.first, finding.last, finding.most)),
            f"{finding.growth:{'+,.0f' if by else '+g'}}{by}",
            f"{finding.limit:,.0f}{by}",
            _ANSWERS[finding.flat],
            style=_STYLES[finding.flat] if finding.flat is not True else None,
        )
    return table


def _balance(soak: Soak, books: Books, minutes: float) -> Table:
    title = (
        f"{minutes:g} minutes, {soak.cores_used:.0%} of one processor for workers and producer,"
        f" load {os.getloadavg()[0]:.1f}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for name, number in (
        ("tasks accepted", books.accepted),
        ("done", books.done),
        ("revoked", books.revoked),
        ("dead letters, of killed shards", books.dead),
        ("repeated, explained by a kill", books.repeated),
        ("questions to the workers", books.asked),
        ("shards killed", len(soak.kills)),
        ("shards recycled", len(soak.pids["shard that is recycled"]) - 1),
    ):
        table.add_row(name, f"{number:,}")
    for name, broken in (
        ("lost", books.lost),
        ("repeated beyond the contract", books.beyond),
        ("wrong", books.wrong),
    ):
        table.add_row(name, f"{len(broken):,}", style="red" if broken else "green")
    return table


def _figures(soak: Soak, books: Books, findings: list[Finding]) -> dict[str, object]:
    return {
        "took_seconds": round(soak.settings.lasts, 1),
        "processors_used": round(soak.cores_used, 3),
        "shards_killed": len(soak.kills),
        "shards_recycled": len(soak.pids["shard that is recycled"]) - 1,
        **msgspec.to_builtins(books),
        "findings": msgspec.to_builtins(findings),
        "median_of_each_minute": {
            f"{part}: {quantity}": by_minute(points)
            for (part, quantity), points in sorted(soak.series.items())
        },
    }


if __name__ == "__main__":
    main()
