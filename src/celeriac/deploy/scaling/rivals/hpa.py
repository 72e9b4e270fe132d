"""Kubernetes' horizontal pod autoscaler (``autoscaling/v2``), its arithmetic for an external metric.

Re-stated from the documentation of the autoscaler and from pkg/controller/podautoscaler: tolerance,
stabilisation windows, policies of ``behavior``, and standing still while the metric is missing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from celeriac.deploy.scaling.view import View

__all__ = ["Behaviour", "Hpa", "MetricPolicy", "Rule"]


@dataclass(frozen=True)
class Rule:
    """One policy of ``behavior``: by how much the pods may change within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period: float  #: seconds


@dataclass(frozen=True)
class Behaviour:
    """``spec.behavior`` with Kubernetes' own defaults."""

    tolerance: float = 0.1
    up_window: float = 0.0  #: stabilisationWindowSeconds
    down_window: float = 300.0
    up: tuple[Rule, ...] = (Rule("Percent", 100, 15.0), Rule("Pods", 4, 15.0))
    down: tuple[Rule, ...] = (Rule("Percent", 100, 15.0),)
    select: Literal["Max", "Min"] = "Max"


class Hpa:
    """One autoscaler: recommendations of the last windows, and the changes it made."""

    def __init__(self, behaviour: Behaviour, *, min_pods: int = 1, max_pods: int = 1_000_000) -> None:
        self._behaviour = behaviour
        self._min = min_pods
        self._max = max_pods
        self._recommended: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def step(self, now: float, current: int, metric: float | None, target: float) -> int:
        """Return the pods wanted for an external metric with an ``AverageValue`` target.

        ``metric`` is None where it could not be read: then nothing changes.
        """
        if not self._recommended:
            self._recommended.append((now, current))
        if not self._min <= current <= self._max:
            return min(max(current, self._min), self._max)
        if metric is None:
            return current
        desired = self._desired(current, metric, target)
        stable = self._stabilised(now, current, desired)
        wanted = self._limited(now, current, stable)
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _desired(self, current: int, metric: float, target: float) -> int:
        ratio = metric / (target * current) if current else math.inf
        tolerance = self._behaviour.tolerance
        if 1 - tolerance <= ratio <= 1 + tolerance:
            return current
        return math.ceil(metric / target)

    def _stabilised(self, now: float, current: int, desired: int) -> int:
        behaviour = self._behaviour
        self._recommended.append((now, desired))
        while self._recommended[0][0] <= now - max(behaviour.up_window, behaviour.down_window, 1.0):
            self._recommended.popleft()
        up = min(self._since(now - behaviour.up_window, desired))
        down = max(self._since(now - behaviour.down_window, desired))
        return min(max(current, up), down)

    def _since(self, moment: float, desired: int) -> list[int]:
        return [desired, *(pods for at, pods in self._recommended if at > moment)]

    def _limited(self, now: float, current: int, stable: int) -> int:
        behaviour = self._behaviour
        longest = max(rule.period for rule in (*behaviour.up, *behaviour.down))
        while self._changes and self._changes[0][0] <= now - longest:
            self._changes.popleft()
        widest, narrowest = (max, min) if behaviour.select == "Max" else (min, max)
        highest = max(self._limit(now, current, behaviour.up, 1, widest), current)
        lowest = min(self._limit(now, current, behaviour.down, -1, narrowest), current)
        return min(max(stable, self._min, lowest), self._max, highest)

    def _limit(
        self, now: float, current: int, rules: Iterable[Rule], sign: int, choose: Callable[[list[int]], int]
    ) -> int:
        limits = []
        for rule in rules:
            start = current - sum(change for at, change in self._changes if at > now - rule.period)
            if rule.kind == "Pods":
                limits.append(start + sign * rule.value)
            else:
                exact = start * (1 + sign * rule.value / 100)
                limits.append(math.ceil(exact) if sign > 0 else int(exact))
        return choose(limits)


class MetricPolicy:
    """An autoscaler on a number made of what is seen."""

    def __init__(self, metric: Callable[[View], float], target: float, behaviour: Behaviour) -> None:
        """``target`` is what one pod should have of the metric."""
        self._metric = metric
        self._target = target
        self._hpa = Hpa(behaviour)

    def decide(self, view: View) -> int:
        metric = self._metric(view) if view.metrics else None
        return self._hpa.step(view.now, view.pods, metric, self._target)
