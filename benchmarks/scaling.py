"""Simulates every scaling policy on a folder of traces and on generated loads; writes Pareto fronts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import click

from celeriac.deploy.scaling.lineup import LINEUP, Options, make
from celeriac.deploy.scaling.load import Load, read_trace
from celeriac.deploy.scaling.outcome import Outcome
from celeriac.deploy.scaling.shapes import SHAPES, generate
from celeriac.deploy.scaling.simulation import Conditions, simulate_parts
from celeriac.deploy.scaling.view import TICK

GOAL = 0.9999
PARTS = ((0.2, 0.5), (0.5, 1.0))
RESULTS = Path(__file__).parent / "results"


def shapes(traces: Path | None, names: tuple[str, ...], days: int) -> Iterator[tuple[str, Any]]:
    """Yield the name, the shape and the bursts of each load; of a long trace the last days."""
    files = sorted(traces.glob("*.csv*")) if traces else []
    for file in files:
        name = file.name.split(".csv")[0]
        if not names or name in names:
            yield name, (read_trace(file)[-int(days * 86_400 / TICK) :], ())
    for name in SHAPES:
        if not names or name in names:
            yield name, generate(name, days=days, seed=11)


def points(load: Load, conditions: Conditions) -> Iterator[dict[str, Any]]:
    """Yield one point for every setting of every policy, measured in both halves."""
    for name, entry in LINEUP.items():
        for options in list(entry.settings()) or [{}]:
            first, second = run(name, load, conditions, options)
            yield {
                "policy": name,
                "options": dict(options),
                "rival": entry.rival,
                "first_half": first.as_dict(),
                "second_half": second.as_dict(),
            }


def run(name: str, load: Load, conditions: Conditions, options: Options) -> list[Outcome]:
    return simulate_parts(load, make(name, load, conditions, options), conditions, PARTS)


def tuned(every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each policy the setting that its first half speaks for: the cheapest that meets the goal.

    Where none meets it, the one with the greatest share of waits within the objective.
    """

    def rank(point: dict[str, Any]) -> tuple[float, float]:
        first = point["first_half"]
        return (-min(first["within_objective"], GOAL), first["pod_hours"])

    every = [point for point in every if point["policy"] != "celeriac" or is_default(point)]
    names = dict.fromkeys(point["policy"] for point in every)
    return [min((point for point in every if point["policy"] == name), key=rank) for name in names]


def is_default(point: dict[str, Any]) -> bool:
    """Whether the policy runs as it comes; ours is judged so, and never tuned."""
    defaults = LINEUP[point["policy"]].defaults
    return all(defaults[name] == value for name, value in point["options"].items())


def verdict(chosen: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare ours with the cheapest tuned rival whose share in the second half is equal or better.

    Shares above the goal count as equal. Where no rival reaches ours, the one with the best share is taken.
    """
    ours = next(point for point in chosen if point["policy"] == "celeriac")["second_half"]
    rivals = [point for point in chosen if point["rival"]]
    share = min(ours["within_objective"], GOAL)
    equal = [point for point in rivals if point["second_half"]["within_objective"] >= share]
    if equal:
        best = min(equal, key=lambda point: point["second_half"]["pod_hours"])
    else:
        best = max(rivals, key=lambda point: point["second_half"]["within_objective"])
    return {
        "against": best["policy"],
        "rival_reaches_our_share": bool(equal),
        "pod_hours_change": ours["pod_hours"] / best["second_half"]["pod_hours"] - 1,
    }


def front(every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points that no other beats in both pod-hours and share, the cheapest first."""
    kept: list[dict[str, Any]] = []
    for point in sorted(every, key=lambda point: point["second_half"]["pod_hours"]):
        share = point["second_half"]["within_objective"]
        if not kept or share > kept[-1]["within_objective"]:
            kept.append(
                {
                    "policy": point["policy"],
                    "options": point["options"],
                    "within_objective": share,
                    "pod_hours": point["second_half"]["pod_hours"],
                }
            )
    return kept


@click.command(context_settings={"show_default": True})
@click.option("--traces", type=click.Path(path_type=Path, exists=True), help="A folder of CSV files.")
@click.option("--load", "names", multiple=True, help="Only this trace or generated load.")
@click.option("--startup", "startups", type=float, multiple=True, default=(15.0, 45.0, 180.0))
@click.option("--service-time", "service_times", type=float, multiple=True, default=(0.2, 2.0, 30.0))
@click.option("--days", default=16, help="Days of each load, half of them to tune on.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "scaling.json")
def main(
    traces: Path | None,
    names: tuple[str, ...],
    startups: tuple[float, ...],
    service_times: tuple[float, ...],
    days: int,
    out: Path,
) -> None:
    """Run what is not in the file yet, cell by cell.

    Example: python benchmarks/scaling.py --traces ~/traces --startup 45 --service-time 2
    """
    cells = json.loads(out.read_text())["cells"] if out.exists() else []
    done = {(cell["load"], cell["startup"], cell["service_time"]) for cell in cells}
    for startup, service_time in product(startups, service_times):
        for name, (shape, bursts) in shapes(traces, names, days):
            if (name, startup, service_time) in done:
                continue
            load = Load.scaled(shape, bursts, mean_load=24, service_time=service_time)
            every = list(points(load, Conditions(startup=startup, service_time=service_time)))
            chosen = tuned(every)
            cell = {"load": name, "startup": startup, "service_time": service_time, "days": days}
            cell |= {"verdict": verdict(chosen), "tuned": chosen, "front": front(every)}
            cells.append(cell)
            out.write_text(json.dumps({"simulation": True, "goal": GOAL, "cells": cells}, indent=1) + "\n")
            click.echo(f"{name} {startup:g} s {service_time:g} s: {cell['verdict']}")


if __name__ == "__main__":
    main()
