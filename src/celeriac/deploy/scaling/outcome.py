"""What a simulated run came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from celeriac.deploy.scaling.load import Floats

__all__ = ["Outcome", "Tally"]

#: Waits are counted in classes 1 % apart, from a millisecond to eleven days; exact enough for percentiles.
_CLASSES = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 2084)])


@dataclass(frozen=True)
class Outcome:
    """The figures of one run, over the measured part of the load."""

    utilisation: float  #: busy slot-seconds per paid slot-second
    within_objective: float  #: share of tasks that waited no longer than the objective
    wait_p50: float  #: seconds
    wait_p99: float  #: seconds
    pod_hours: float  #: from the moment a pod is asked for to its end, draining included
    scale_events_per_day: float  #: changes of the wanted number of pods
    tasks: int
    days: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class Tally:
    """Adds up what happens in the measured part."""

    def __init__(self, objective: float, slots: int) -> None:
        self._objective = objective
        self._slots = slots
        self._waits = np.zeros(len(_CLASSES) + 1, dtype=np.int64)
        self._late = 0
        self._busy = 0.0
        self._pod_seconds = 0.0
        self._events = 0
        self._seconds = 0.0

    def begun(self, waits: Floats) -> None:
        """Count tasks that began, after these waits."""
        if len(waits):
            waits_by_class = np.bincount(np.searchsorted(_CLASSES, waits), minlength=len(self._waits))
            self._waits += waits_by_class
            self._late += int((waits > self._objective).sum())

    def begun_at_once(self, tasks: int) -> None:
        """Count tasks that did not wait."""
        self._waits[0] += tasks

    def add(self, busy: float, pod_seconds: float, seconds: float, *, changed: bool) -> None:
        """Count what ran in a span of ``seconds``, what the pods cost, and a change of them."""
        self._busy += busy
        self._pod_seconds += pod_seconds
        self._seconds += seconds
        self._events += changed

    def never_begun(self, tasks: int) -> None:
        """Count tasks that still wait at the end, and have for longer than the objective."""
        self._waits[-1] += tasks
        self._late += tasks

    def outcome(self) -> Outcome:
        tasks = int(self._waits.sum())
        days = self._seconds / 86_400
        return Outcome(
            utilisation=self._busy / max(self._pod_seconds * self._slots, 1e-9),
            within_objective=1.0 - self._late / max(tasks, 1),
            wait_p50=self._percentile(0.50),
            wait_p99=self._percentile(0.99),
            pod_hours=self._pod_seconds / 3600,
            scale_events_per_day=self._events / max(days, 1e-9),
            tasks=tasks,
            days=days,
        )

    def _percentile(self, share: float) -> float:
        below = np.cumsum(self._waits)
        index = int(np.searchsorted(below, share * below[-1]))
        return float(_CLASSES[min(index, len(_CLASSES) - 1)])
