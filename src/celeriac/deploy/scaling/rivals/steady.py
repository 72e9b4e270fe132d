"""The two ends of the scale: pods for the peak at all times, and pods by a look into the future."""

from __future__ import annotations

import math

import numpy as np

from celeriac.deploy.scaling.load import Floats, Load
from celeriac.deploy.scaling.simulation import Conditions
from celeriac.deploy.scaling.staffing import slots_for
from celeriac.deploy.scaling.view import TICK, View

__all__ = ["Oracle", "StaticPeak", "needed_slots"]

_SAFE_WAIT = 0.6  # of the objective
_SPANS = (1, 2, 4, 8, 16)


def needed_slots(demand: Floats, conditions: Conditions, late: float = 1e-5) -> Floats:
    """Return for every tick the slots with which tasks at these rates wait no longer than they may.

    Tasks may wait, so what arrives in a span of time may be worked off in that span and a part of the
    objective together, but not for long: the longest span has no such help. A span ends with its tick.
    """
    wait = _SAFE_WAIT * conditions.objective
    sums = np.concatenate([[0.0], np.cumsum(demand * TICK)])
    needed = np.zeros(len(demand))
    for span in _SPANS:
        work = (sums[span:] - sums[:-span]) * conditions.service_time
        seconds = span * TICK + (wait if span < _SPANS[-1] else 0.0)
        needed[span - 1 :] = np.maximum(needed[span - 1 :], work / seconds)
    loads = np.maximum(needed, 1e-6)
    grid = np.geomspace(max(loads.min(), 0.01), loads.max() + 1.0, 400)
    cv, service_time = conditions.service_cv, conditions.service_time
    slots = [slots_for(float(load), service_time, cv, wait, late) for load in grid]
    return np.interp(loads, grid, slots)


class StaticPeak:
    """As many pods, always, as the busiest minute of the load's first half needed, and a margin."""

    def __init__(self, load: Load, conditions: Conditions, margin: float = 1.0) -> None:
        half = load.demand()[: load.ticks // 2]
        minute = np.convolve(half, np.ones(4) / 4, "valid")
        slots = needed_slots(minute, conditions).max() * margin
        self._pods = math.ceil(float(slots) / conditions.slots_per_pod)

    def decide(self, view: View) -> int:  # noqa: ARG002 - nothing that it sees changes its mind
        return self._pods


class Oracle:
    """Knows every rate and burst to come, though not the chance in single arrivals and run times."""

    def __init__(self, load: Load, conditions: Conditions) -> None:
        pods = np.ceil(needed_slots(load.demand(), conditions) / conditions.slots_per_pod)
        ahead = math.ceil(conditions.startup * 1.2 / TICK) + 1
        padded = np.concatenate([pods, np.full(ahead, pods[-1])])
        self._pods = np.lib.stride_tricks.sliding_window_view(padded, ahead + 1).max(axis=1).astype(int)

    def decide(self, view: View) -> int:
        return int(self._pods[min(round(view.now / TICK) - 1, len(self._pods) - 1)])
