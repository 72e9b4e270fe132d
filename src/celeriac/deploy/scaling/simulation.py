"""Runs a policy against a load, task by task, and measures a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np

from celeriac.deploy.scaling.fleet import Fleet
from celeriac.deploy.scaling.load import Burst, Floats, Load
from celeriac.deploy.scaling.outcome import Outcome, Tally
from celeriac.deploy.scaling.view import TICK, Due, Firing, Policy, View

__all__ = ["Conditions", "simulate", "simulate_parts"]

_CHUNK = 240  # ticks whose tasks are drawn at once: an hour
_LOOK_AHEAD = 3600.0


@dataclass(frozen=True)
class Conditions:
    """What a pool is like."""

    startup: float = 45.0  #: seconds from asking for a pod to its first task
    service_time: float = 2.0  #: mean seconds that a task runs
    service_cv: float = 1.0  #: coefficient of variation of the run time, which is lognormal
    slots_per_pod: int = 4
    objective: float = 30.0  #: seconds that a task may wait
    min_pods: int = 1
    max_pods: int = 2000
    missing_metrics: float = 0.0  #: share of the ticks in which the metrics cannot be read
    seed: int = 1


class _Tick(NamedTuple):
    arrivals: list[float]
    run_times: list[float]
    announced: int


def simulate(
    load: Load, policy: Policy, conditions: Conditions, *, part: tuple[float, float] = (0.5, 1.0)
) -> Outcome:
    """Return how the policy fared between the two shares of the load's time.

    The load before that is simulated too, so that the policy has seen it; what follows is not.
    """
    return simulate_parts(load, policy, conditions, (part,))[0]


def simulate_parts(
    load: Load, policy: Policy, conditions: Conditions, parts: Sequence[tuple[float, float]]
) -> list[Outcome]:
    """Return how the policy fared in each of several parts of one run."""
    measured = [_Part(load, conditions, part) for part in parts]
    random = Random(conditions.seed)
    first_load = float(load.rates[0]) * conditions.service_time
    pods = min(max(int(first_load / conditions.slots_per_pod) + 2, conditions.min_pods), conditions.max_pods)
    fleet = Fleet(pods, conditions.slots_per_pod, conditions.startup, random)
    calendar = _Calendar(load.bursts)
    for index, tick in enumerate(_draw(load, conditions, max(part.end for part in measured))):
        now = (index + 1) * TICK
        view = View(now, arrivals=len(tick.arrivals) - tick.announced, announced=tick.announced)
        view.started = fleet.become_ready(now)
        waits, busy = _run(fleet, tick, now, view, conditions.objective)
        paid = fleet.paid(now - TICK, now)
        _observe(view, fleet, calendar, metrics=random.random() >= conditions.missing_metrics)
        wanted = min(max(policy.decide(view), conditions.min_pods), conditions.max_pods)
        changed = wanted != fleet.pods
        if changed:
            fleet.scale(wanted, now)
        for part in measured:
            if part.begin <= index < part.end:
                part.tally.add(waits, busy, paid, TICK, changed=changed)
                if index + 1 == part.end:
                    part.tally.never_begun(fleet.overdue(now - conditions.objective))
    return [part.tally.outcome() for part in measured]


class _Part:
    """The ticks from begin to before end, and what happens in them."""

    def __init__(self, load: Load, conditions: Conditions, part: tuple[float, float]) -> None:
        self.begin, self.end = int(load.ticks * part[0]), int(load.ticks * part[1])
        self.tally = Tally(conditions.objective, conditions.slots_per_pod)


def _draw(load: Load, conditions: Conditions, end: int) -> Iterator[_Tick]:
    """Yield the tasks of one tick after the other; the same for every policy under one seed."""
    random = np.random.default_rng(conditions.seed)
    spread = np.log1p(conditions.service_cv**2)
    centre = np.log(conditions.service_time) - spread / 2
    bursts = load.burst_counts()
    for first in range(0, end, _CHUNK):
        last = min(first + _CHUNK, end)
        counts = random.poisson(load.rates[first:last] * TICK) + bursts[first:last]
        total = int(counts.sum())
        begins = np.repeat(np.arange(first, last) * TICK, counts)
        arrivals = np.sort(begins + random.random(total) * TICK).tolist()
        run_times = random.lognormal(centre, np.sqrt(spread), total).tolist()
        edges = np.concatenate([[0], np.cumsum(counts)]).tolist()
        for index in range(last - first):
            span = slice(edges[index], edges[index + 1])
            yield _Tick(arrivals[span], run_times[span], int(bursts[first + index]))


def _run(fleet: Fleet, tick: _Tick, now: float, view: View, objective: float) -> tuple[Floats, float]:
    waits, busy = fleet.work(tick.arrivals, tick.run_times, now)
    array = np.array(waits)
    view.begun = view.finished = len(waits)
    view.run_seconds = busy
    view.run_seconds_squared = (
        float(np.square(tick.run_times).sum()) * len(waits) / max(len(tick.run_times), 1)
    )
    view.late = int((array > objective).sum())
    view.longest_wait = float(array[-1]) if len(waits) else 0.0
    return array, busy


def _observe(view: View, fleet: Fleet, calendar: _Calendar, *, metrics: bool) -> None:
    view.queued = fleet.queued()
    view.running = fleet.running(view.now)
    view.ready = fleet.ready
    view.starting = fleet.ages(view.now)
    view.metrics = metrics
    view.due, view.fired = calendar.read(view.now)


class _Calendar:
    """Which bursts can be known at a moment, and which beat entries have fired since."""

    def __init__(self, bursts: tuple[Burst, ...]) -> None:
        self._bursts = bursts
        self._past = 0
        self._unfinished: list[Burst] = []

    def read(self, now: float) -> tuple[list[Due], list[Firing]]:
        """Return what is announced for the next hour, and the firings that have ended."""
        if not self._bursts:
            return [], []
        while self._past < len(self._bursts) and self._bursts[self._past].at <= now:
            self._unfinished.append(self._bursts[self._past])
            self._past += 1
        ended = [burst for burst in self._unfinished if burst.at + burst.seconds <= now]
        self._unfinished = [burst for burst in self._unfinished if burst.at + burst.seconds > now]
        fired = [Firing(burst.entry, round(burst.work), burst.seconds) for burst in ended if burst.entry]
        return list(self._due(now)), fired

    def _due(self, now: float) -> Iterator[Due]:
        for burst in self._unfinished:
            done = (now - burst.at) / burst.seconds
            yield self._announce(burst, now, 1.0 - done)
        for index in range(self._past, len(self._bursts)):
            burst = self._bursts[index]
            if burst.at > now + _LOOK_AHEAD:
                return
            if burst.announced <= now:
                yield self._announce(burst, burst.at, 1.0)

    @staticmethod
    def _announce(burst: Burst, at: float, share: float) -> Due:
        if burst.entry:
            return Due(burst.at, None, 0.0, burst.entry)
        return Due(at, round(burst.work * share), burst.seconds * share)
