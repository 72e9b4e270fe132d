"""The tasks of a load, drawn hour by hour, and how many of them would run at once if none ever waited.

That crowd is the same for every policy: where a pool has a slot for each of it, the pool need not be
followed task by task.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from celeriac.deploy.scaling.load import Floats, Integers, Load
from celeriac.deploy.scaling.view import TICK

__all__ = ["Hour", "draw"]

_TICKS = 240  # drawn at once


class Hour:
    """The tasks of some ticks, and the crowd they would be."""

    def __init__(self, first: int, counts: Integers, arrivals: Floats, runs: Floats, before: Floats) -> None:
        """``before`` holds when those end that began before, in order; ``first`` is the first tick."""
        self.first = first
        self.counts: list[int] = counts.tolist()
        self._arrivals, self._runs, self._before = arrivals, runs, before
        self._ends = arrivals + runs
        self._edges = np.concatenate([[0], np.cumsum(counts)])
        every = np.sort(np.concatenate([before, self._ends]))
        present = len(before) + 1 + np.arange(len(arrivals)) - np.searchsorted(every, arrivals, "right")
        after = (first + 1 + np.arange(len(counts))) * TICK
        left = len(before) + self._edges[1:] - np.searchsorted(every, after, "right")
        #: For each tick the most that run at once from its first task on, and those that run at its end.
        self.most: list[float] = _by_tick(np.maximum, present.astype(float), counts).tolist()
        self.left: list[int] = left.tolist()
        #: For each tick the run times of its tasks, and their squares, added up.
        self.seconds: list[float] = _by_tick(np.add, runs, counts).tolist()
        self.squares: list[float] = _by_tick(np.add, np.square(runs), counts).tolist()
        self.after = every[np.searchsorted(every, after[-1], "right") :]

    def tasks(self, tick: int) -> tuple[list[float], list[float]]:
        """Return when the tasks of the tick arrive, in order, and how long they run."""
        span = slice(self._edges[tick], self._edges[tick + 1])
        return self._arrivals[span].tolist(), self._runs[span].tolist()

    def running_after(self, tick: int) -> list[float]:
        """Return when those end that run at the end of the tick if none ever waited."""
        now = (self.first + tick + 1) * TICK
        begun = self._ends[: self._edges[tick + 1]]
        return [*self._before[self._before > now].tolist(), *begun[begun > now].tolist()]


def _by_tick(add_up: np.ufunc, values: Floats, counts: Integers) -> Floats:
    """Apply the function to the values of each tick; 0 for a tick that has none."""
    result = np.zeros(len(counts))
    filled = counts > 0
    if filled.any():
        begins = np.concatenate([[0], np.cumsum(counts)[:-1]])[filled]
        result[filled] = add_up.reduceat(values, begins)
    return result


def draw(load: Load, service_time: float, service_cv: float, seed: int, ticks: int) -> Iterator[Hour]:
    """Yield the tasks of the first ticks, the same under one seed; run times are lognormal."""
    random = np.random.default_rng(seed)
    spread = np.log1p(service_cv**2)
    centre = np.log(service_time) - spread / 2
    bursts = load.burst_counts()
    before: Floats = np.zeros(0)
    for first in range(0, ticks, _TICKS):
        last = min(first + _TICKS, ticks)
        counts = random.poisson(load.rates[first:last] * TICK) + bursts[first:last]
        total = int(counts.sum())
        begins = np.repeat(np.arange(first, last) * TICK, counts)
        arrivals = np.sort(begins + random.random(total) * TICK)
        hour = Hour(first, counts, arrivals, random.lognormal(centre, np.sqrt(spread), total), before)
        before = hour.after
        yield hour
