"""Runs a policy against a load, task by task, and measures a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np

from celeriac.deploy.scaling.crowd import Hour, draw
from celeriac.deploy.scaling.fleet import Fleet
from celeriac.deploy.scaling.load import Burst, Load
from celeriac.deploy.scaling.outcome import Outcome, Tally
from celeriac.deploy.scaling.view import TICK, Due, Firing, Policy, View

__all__ = ["Conditions", "simulate", "simulate_parts"]

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


def simulate(
    load: Load, policy: Policy, conditions: Conditions, *, part: tuple[float, float] = (0.5, 1.0)
) -> Outcome:
    """Return how the policy fared between the two shares of the load's time.

    The load before that is simulated too, so that the policy has seen it; what follows is not.
    """
    return simulate_parts(load, [policy], conditions, (part,))[0][0]


def simulate_parts(
    load: Load, policies: Sequence[Policy], conditions: Conditions, parts: Sequence[tuple[float, float]]
) -> list[list[Outcome]]:
    """Return how each policy fared in each of several parts of one load, whose tasks are drawn once."""
    runs = [_Run(load, policy, conditions, parts) for policy in policies]
    ticks = max(int(load.ticks * end) for _begin, end in parts)
    announced = load.burst_counts().tolist()
    for hour in draw(load, conditions.service_time, conditions.service_cv, conditions.seed, ticks):
        for run in runs:
            for tick in range(len(hour.counts)):
                run.step(hour, tick, announced[hour.first + tick])
    return [[part.tally.outcome() for part in run.parts] for run in runs]


class _Part:
    """The ticks from begin to before end, and what happens in them."""

    def __init__(self, load: Load, conditions: Conditions, part: tuple[float, float]) -> None:
        self.begin, self.end = int(load.ticks * part[0]), int(load.ticks * part[1])
        self.tally = Tally(conditions.objective, conditions.slots_per_pod)


class _Run:
    """One policy and its pool, tick by tick."""

    def __init__(
        self, load: Load, policy: Policy, conditions: Conditions, parts: Sequence[tuple[float, float]]
    ) -> None:
        self.parts = [_Part(load, conditions, part) for part in parts]
        self._policy, self._conditions = policy, conditions
        self._random = Random(conditions.seed)
        first_load = float(load.rates[0]) * conditions.service_time
        pods = int(first_load / conditions.slots_per_pod) + 2
        self._fleet = Fleet(self._bounded(pods), conditions.slots_per_pod, conditions.startup, self._random)
        self._calendar = _Calendar(load.bursts)

    def _bounded(self, pods: int) -> int:
        return min(max(pods, self._conditions.min_pods), self._conditions.max_pods)

    def step(self, hour: Hour, tick: int, announced: int) -> None:
        """Let the tasks of one tick come, and the policy decide at its end."""
        index = hour.first + tick
        now = (index + 1) * TICK
        view = View(now, arrivals=hour.counts[tick] - announced, announced=announced)
        counted = [part.tally for part in self.parts if part.begin <= index < part.end]
        if self._fleet.has_room(hour.most[tick], now - TICK):
            self._pass(hour, tick, view, counted)
        else:
            self._work(hour, tick, view, counted)
        paid = self._fleet.paid(now - TICK, now)
        self._observe(view)
        wanted = self._bounded(self._policy.decide(view))
        changed = wanted != self._fleet.pods
        if changed:
            self._fleet.scale(wanted, now)
        for tally in counted:
            tally.add(view.run_seconds, paid, TICK, changed=changed)
        for part in self.parts:
            if index + 1 == part.end:
                part.tally.never_begun(self._fleet.overdue(now - self._conditions.objective))

    def _pass(self, hour: Hour, tick: int, view: View, counted: Sequence[Tally]) -> None:
        view.started = self._fleet.become_ready(view.now)
        self._fleet.pass_by(hour.left[tick], partial(hour.running_after, tick))
        view.begun = view.finished = hour.counts[tick]
        view.run_seconds, view.run_seconds_squared = hour.seconds[tick], hour.squares[tick]
        for tally in counted:
            tally.begun_at_once(view.begun)

    def _work(self, hour: Hour, tick: int, view: View, counted: Sequence[Tally]) -> None:
        self._fleet.recall(view.now - TICK)
        view.started = self._fleet.become_ready(view.now)
        arrivals, run_times = hour.tasks(tick)
        waits, view.run_seconds = self._fleet.work(arrivals, run_times, view.now)
        array = np.array(waits)
        view.begun = view.finished = len(waits)
        view.run_seconds_squared = hour.squares[tick] * len(waits) / max(len(run_times), 1)
        view.late = int((array > self._conditions.objective).sum())
        view.longest_wait = waits[-1] if waits else 0.0
        for tally in counted:
            tally.begun(array)

    def _observe(self, view: View) -> None:
        view.queued = self._fleet.queued()
        view.running = self._fleet.running(view.now)
        view.ready = self._fleet.ready
        view.starting = self._fleet.ages(view.now)
        view.metrics = self._random.random() >= self._conditions.missing_metrics
        view.due, view.fired = self._calendar.read(view.now)


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
