"""Simulates every setting of every scaling policy on traces and generated loads; keeps each point as it ends.

Points go, line by line, to a file from which a run that was broken off goes on; scaling_verdict.py makes
the cells of results/scaling.json of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any, NamedTuple

import click

from celeriac.deploy.scaling.lineup import LINEUP, make
from celeriac.deploy.scaling.load import Floats, Load, read_trace
from celeriac.deploy.scaling.shapes import SHAPES, generate
from celeriac.deploy.scaling.simulation import Conditions, simulate_parts
from celeriac.deploy.scaling.view import TICK
from scaling_verdict import assemble

PARTS = ((0.2, 0.5), (0.5, 1.0))
MEAN_LOAD = 24.0
BATCH = 6
RESULTS = Path(__file__).parent / "results"


class Job(NamedTuple):
    """One setting of one policy against one load."""

    load: str
    startup: float
    service_time: float
    days: int
    policy: str
    options: tuple[tuple[str, float], ...]


def jobs(
    loads: list[str], policies: tuple[str, ...], startups: Any, services: Any, days: int
) -> Iterator[Job]:
    for startup, service, load in product(startups, services, loads):
        for policy in policies or LINEUP:
            for options in list(LINEUP[policy].settings()) or [{}]:
                yield Job(load, startup, service, days, policy, tuple(sorted(options.items())))


@lru_cache(maxsize=2)
def shape(file: str, days: int) -> tuple[Floats, Any]:
    """Return the shape and the bursts of a trace, of a long one the last days, or of a generated load."""
    if file in SHAPES:
        return generate(file, days=days, seed=11)
    return read_trace(Path(file))[-int(days * 86_400 / TICK) :], ()


def batches(waiting: list[Job]) -> Iterator[list[Job]]:
    """Yield the jobs of each load and pool some at a time: their tasks are drawn only once."""
    for _cell, group in groupby(waiting, lambda job: job[:4]):
        while batch := list(islice(group, BATCH)):
            yield batch


def measure(batch: list[Job], file: str) -> list[dict[str, Any]]:
    """Return each job with its figures in both halves."""
    cell = batch[0]
    rates, bursts = shape(file, cell.days)
    load = Load.scaled(rates, bursts, mean_load=MEAN_LOAD, service_time=cell.service_time)
    conditions = Conditions(startup=cell.startup, service_time=cell.service_time)
    policies = [make(job.policy, load, conditions, dict(job.options)) for job in batch]
    outcomes = simulate_parts(load, policies, conditions, PARTS)
    return [
        {**job._asdict(), "first_half": first.as_dict(), "second_half": second.as_dict()}
        for job, (first, second) in zip(batch, outcomes, strict=True)
    ]


def read(points: Path, renewed: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the points there are, but those of the policies to be measured anew."""
    lines = points.read_text().splitlines() if points.exists() else []
    return [point for point in map(json.loads, lines) if point["policy"] not in renewed]


def identity(point: dict[str, Any]) -> Job:
    options = tuple(sorted((name, value) for name, value in point["options"]))
    return Job(**{**{name: point[name] for name in Job._fields}, "options": options})


@click.command(context_settings={"show_default": True})
@click.option("--traces", type=click.Path(path_type=Path, exists=True), help="A folder of CSV files.")
@click.option("--load", "names", multiple=True, help="Only this trace or generated load.")
@click.option("--policy", "policies", multiple=True, help="Only this policy.")
@click.option("--renew", "renewed", multiple=True, help="Forget what is known of this policy.")
@click.option("--startup", "startups", type=float, multiple=True, default=(45.0,))
@click.option("--service-time", "services", type=float, multiple=True, default=(2.0,))
@click.option("--days", default=16, help="Days of each load, half of them to tune on.")
@click.option("--processes", default=2)
@click.option("--points", type=click.Path(path_type=Path), default=RESULTS / "scaling-points.jsonl")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "scaling.json")
def main(traces: Path | None, names: tuple[str, ...], points: Path, out: Path, **settings: Any) -> None:
    """Run what is not known yet, point by point, then write the cells.

    Example: python benchmarks/scaling.py --traces ~/traces --startup 45 --service-time 2
    """
    found = sorted(traces.glob("*.csv*")) if traces else []
    files = {file.name.split(".csv")[0]: str(file) for file in found}
    files |= {name: name for name in SHAPES}
    loads = [name for name in files if not names or name in names]
    known = read(points, settings["renewed"])
    points.write_text("".join(json.dumps(point) + "\n" for point in known))
    done = {identity(point) for point in known}
    todo = jobs(loads, settings["policies"], settings["startups"], settings["services"], settings["days"])
    waiting = [job for job in todo if job not in done]
    click.echo(f"{len(waiting)} points to measure, {len(known)} known")
    with ProcessPoolExecutor(settings["processes"]) as pool, points.open("a") as file:
        futures = [pool.submit(measure, batch, files[batch[0].load]) for batch in batches(waiting)]
        for future in as_completed(futures):
            file.write("".join(json.dumps(point) + "\n" for point in future.result()))
            file.flush()
    cells = assemble(read(points, ()))
    out.write_text(json.dumps({"simulation": True, **cells}, indent=1) + "\n")


if __name__ == "__main__":
    main()
