"""Measures how late delayed tasks start in an idle worker.

    python benchmarks/lateness.py --tasks 200 --json benchmarks/results/lateness.json

Lateness is the moment the body starts less the task's eta, by one clock on one machine.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import click

from rig.private_redis import start_redis

APP = """
import os, time
from celeriac import Celery

app = Celery("late", broker=os.environ["BENCH_BROKER"])
app.conf.task_ignore_result = True


@app.task
def start(due: float) -> None:
    with open(os.environ["BENCH_STARTS"], "a") as file:
        file.write(f"{time.time() - due}\\n")
"""
_GIVE_UP_SECONDS = 60


@click.command()
@click.option("--tasks", default=200, type=click.IntRange(min=20))
@click.option("--over", default=2.0, help="Seconds over which they are due.")
@click.option("--settle", default=6.0, help="Seconds from the first task done to the first one due.")
@click.option("--seed", default=1)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the raw numbers go.")
def main(tasks: int, over: float, settle: float, seed: int, file: Path | None) -> None:
    """Print percentiles of the lateness in milliseconds."""
    lateness = sorted(1000 * late for late in measure(tasks, over, seed, settle))
    cuts = quantiles(lateness, n=100)
    told = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": lateness[-1], "min": lateness[0]}
    print("ms late: " + ", ".join(f"{name} {value:.1f}" for name, value in told.items()))
    if file is not None:
        setting = {"tasks": tasks, "over": over, "settle": settle, "seed": seed, "load": os.getloadavg()[0]}
        file.write_text(json.dumps({"setting": setting, "ms": told, "raw": lateness}, indent=1) + "\n")


def measure(tasks: int, over: float, seed: int, settle: float) -> list[float]:
    """Return the seconds by which each task started late."""
    with start_redis() as redis, tempfile.TemporaryDirectory(prefix="celeriac-bench-") as name:
        folder = Path(name)
        (folder / "late.py").write_text(APP)
        starts = folder / "starts"
        starts.touch()
        os.environ |= {"BENCH_BROKER": redis.broker_url, "BENCH_STARTS": str(starts)}
        command = [sys.executable, "-m", "celery", "-A", "late", "worker", "-c", "2", "-l", "WARNING"]
        worker = subprocess.Popen(command, cwd=folder)
        try:
            sys.path.insert(0, name)
            from late import start

            start.delay(time.time())
            _wait(starts, 1)
            chosen = random.Random(seed)
            base = time.time() + settle
            for due in sorted(base + chosen.uniform(0, over) for _ in range(tasks)):
                start.apply_async((due,), eta=datetime.fromtimestamp(due, UTC))
            _wait(starts, tasks + 1)
            return [float(line) for line in starts.read_text().splitlines()[1:]]
        finally:
            worker.terminate()
            worker.wait()


def _wait(starts: Path, count: int) -> None:
    give_up = time.monotonic() + _GIVE_UP_SECONDS
    while len(starts.read_text().splitlines()) < count:
        if time.monotonic() > give_up:
            raise click.ClickException(f"only {len(starts.read_text().splitlines())} of {count} started")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
