"""The slots with which backlog, announced bursts and a bad course of events are worked off in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celeriac.deploy.scaling.load import Floats
from celeriac.deploy.scaling.view import TICK

__all__ = ["Work", "slots_to_work_off"]


@dataclass(frozen=True)
class Work:
    """What is to be done, in slot-seconds, and who is there to do it."""

    waiting: float  #: of the tasks that wait
    announced: Floats  #: that will arrive in each of the next ticks
    load: float  #: slots that anything else keeps busy, for as long as ``load_seconds``
    load_seconds: float
    slots: int  #: of the pods that there are, those under way too
    slots_per_pod: int
    still_to_wait: tuple[float, ...]  #: for each pod under way, the seconds until it is expected


def slots_to_work_off(work: Work, lead: float, spare: float) -> float:
    """Return the slots with which no task waits much longer than ``spare`` seconds.

    Slots above those that there are can help only after ``lead`` seconds, and have to do by then what was
    left undone; pods under way count from when they are expected, so that nothing is asked for twice.
    """
    moments = np.arange(len(work.announced) + 1, dtype=np.float64) * TICK
    loaded: Floats = moments.clip(max=work.load_seconds)
    arriving = work.announced + work.load * (loaded[1:] - loaded[:-1])
    arriving[0] += work.waiting
    come = _between(np.concatenate(([0.0], np.cumsum(arriving))))
    seconds = _between(moments)
    fewest = float((come / (seconds + spare)).max())
    if fewest <= work.slots:
        return fewest
    done: Floats = work.slots * moments
    able: Floats = np.full(len(moments), float(work.slots))
    for wait in work.still_to_wait:
        done = done - work.slots_per_pod * moments.clip(max=wait)
        able = able - work.slots_per_pod * (moments < wait)
    later: Floats = (moments - lead).clip(min=0.0)
    more = (come - _between(done) - spare * able) / (_between(later) + spare)
    return work.slots + max(float(more[:, moments > lead].max()), 0.0)


def _between(totals: Floats) -> Floats:
    """Return what comes from each moment (row) to each later one (column); 0 to the others.

    The longest queue of all that may form begins at one of the moments, with nobody waiting: idle slots
    cannot do in advance what has not come yet.
    """
    return np.triu(totals[None, :] - totals[:, None])
