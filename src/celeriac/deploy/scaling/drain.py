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
    ends = (np.arange(len(work.announced)) + 1) * TICK
    whole = work.waiting + np.cumsum(work.announced) + work.load * np.minimum(ends, work.load_seconds)
    fewest = float((whole / (ends + spare)).max())
    if fewest <= work.slots:
        return fewest
    waited = np.minimum(ends, lead)
    done = work.slots * waited
    for seconds in work.still_to_wait:
        done = done - work.slots_per_pod * np.minimum(ends, seconds)
    needed = (whole - done) / (ends - waited + spare)
    return max(float(needed[ends > lead].max()), float(work.slots))
