"""From measured points to cells: which setting a first half speaks for, who wins, and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from celeriac.deploy.scaling.lineup import LINEUP

__all__ = ["GOAL", "assemble"]

GOAL = 0.9999
OURS = "celeriac"

Point = dict[str, Any]


def assemble(points: Iterable[Point]) -> dict[str, Any]:
    """Return the goal and a cell for each load and pool that ours and a rival were measured on."""
    key: Callable[[Point], Any] = lambda point: (  # noqa: E731
        point["startup"],
        point["service_time"],
        point["load"],
        point["days"],
    )
    cells = []
    for (startup, service_time, load, days), group in groupby(sorted(points, key=key), key):
        every = [plain(point) for point in group]
        if {True, False} == {point["policy"] == OURS for point in every}:
            cell = {"load": load, "startup": startup, "service_time": service_time, "days": days}
            chosen = tuned(every)
            cells.append(cell | {"verdict": verdict(chosen, every), "tuned": chosen, "front": front(every)})
    return {"goal": GOAL, "cells": cells}


def plain(point: Point) -> Point:
    return {
        "policy": point["policy"],
        "options": dict(point["options"]),
        "rival": LINEUP[point["policy"]].rival,
        "first_half": point["first_half"],
        "second_half": point["second_half"],
    }


def tuned(every: list[Point]) -> list[Point]:
    """Return of each policy the setting that its first half speaks for: the cheapest that meets the goal.

    Where none meets it, the one with the greatest share of waits within the objective.
    """

    def rank(point: Point) -> tuple[float, float]:
        first = point["first_half"]
        return (-min(first["within_objective"], GOAL), first["pod_hours"])

    every = [point for point in every if point["policy"] != OURS or is_default(point)]
    names = dict.fromkeys(point["policy"] for point in every)
    return [min((point for point in every if point["policy"] == name), key=rank) for name in names]


def is_default(point: Point) -> bool:
    """Whether the policy runs as it comes; ours is judged so, and never tuned."""
    defaults = LINEUP[point["policy"]].defaults
    return all(defaults[name] == value for name, value in point["options"].items())


def verdict(chosen: list[Point], every: list[Point]) -> dict[str, Any]:
    """Compare ours with the cheapest tuned rival whose share in the second half is equal or better.

    Shares above the goal count as equal. Where no rival reaches ours, the one with the best share is taken.
    The change in hindsight is against the cheapest of all settings, chosen on the second half itself.
    """
    ours = next(point for point in chosen if point["policy"] == OURS)["second_half"]
    best, reached = rival(chosen, ours["within_objective"])
    hindsight, _reached = rival(every, ours["within_objective"])
    return {
        "against": best["policy"],
        "rival_reaches_our_share": reached,
        "pod_hours_change": ours["pod_hours"] / best["second_half"]["pod_hours"] - 1,
        "pod_hours_change_in_hindsight": ours["pod_hours"] / hindsight["second_half"]["pod_hours"] - 1,
    }


def rival(points: list[Point], share: float) -> tuple[Point, bool]:
    """Return the cheapest rival that has the share, and True; else the one that comes nearest, and False."""
    rivals = [point for point in points if point["rival"]]
    equal = [point for point in rivals if point["second_half"]["within_objective"] >= min(share, GOAL)]
    if equal:
        return min(equal, key=lambda point: point["second_half"]["pod_hours"]), True
    return max(rivals, key=lambda point: point["second_half"]["within_objective"]), False


def front(every: list[Point]) -> list[Point]:
    """Return the points that no other beats in both pod-hours and share, the cheapest first."""
    kept: list[Point] = []
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
