"""A long campaign with a bar and a table: ``python -m tests.drain --terminations 1000``."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
import msgspec
from redis import Redis
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from celeriac.deploy.manifests.kube_version import OLDEST
from tests.drain.campaign import MIXED, Outcome, fleet, run
from tests.servers import redis_server
from tests.setting import write_run

PACKAGES = ("celeriac", "celery", "kombu", "redis")


@click.command(context_settings={"show_default": True})
@click.option("--terminations", default=1000, type=click.IntRange(min=1), help="How many pods are ended.")
@click.option("--pods", default=8, type=click.IntRange(min=1), help="How many run at a time.")
@click.option("--minutes", type=click.FloatRange(min=0), help="End no more of them after so long.")
@click.option("--seed", default=1, help="The same seed gives the same load and the same ends.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Where the figures go.")
def main(terminations: int, pods: int, minutes: float | None, seed: int, path: Path | None) -> None:
    """End pods under load as the kubelet does, and judge by a ledger. Ends with 1 for a broken promise."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    began = datetime.now(UTC).isoformat(timespec="seconds")
    kinds = random.Random(seed).choices(list(MIXED), list(MIXED.values()), k=terminations)
    until = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    with (
        tempfile.TemporaryDirectory(prefix="celeriac-drain-") as folder,
        redis_server() as redis,
        fleet(Path(folder), redis, seed=seed) as running,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("pods ended", total=terminations)
        outcome = run(running, kinds, pods, lambda _: progress.advance(bar), until)
        server = Redis.from_url(redis.url).info("server")["redis_version"]
    Console().print(_table(outcome))
    if path is not None:
        versions = {name: version(name) for name in PACKAGES} | {"redis-server": server}
        versions["manifests for Kubernetes"] = str(OLDEST)
        options = {"terminations": terminations, "pods": pods, "seed": seed, "broker": "redis"}
        write_run(path, options, {"began": began, "versions": versions, **msgspec.to_builtins(outcome)})
    sys.exit(1 if outcome.verdict.lost or outcome.verdict.repeated else 0)


def _table(outcome: Outcome) -> Table:
    verdict = outcome.verdict
    table = Table(box=box.SIMPLE, show_header=False)
    for name, value in {
        "pods ended": outcome.terminations,
        **{f"{kind}: run dry": f"{some.drained} of {some.ends}" for kind, some in outcome.kinds.items()},
        **{f"{kind}: killed": some.killed for kind, some in outcome.kinds.items()},
        "minutes": outcome.minutes,
        "tasks accepted": verdict.accepted,
        "done": verdict.done,
        "lost": len(verdict.lost),
        "repeated beyond the promise": len(verdict.repeated),
        "cut short and run again": len(verdict.run_again),
        "cut short and kept as dead letters": len(verdict.buried),
    }.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value}")
    return table


if __name__ == "__main__":
    main()
