"""The brain's decisions over some hours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.brain import Brain, Decision
from celeriac.deploy.scaling.view import TICK, View

__all__ = ["Moment", "Recording", "changes"]


class Moment(NamedTuple):
    """One decision, and what there was at the time."""

    now: float
    pods: int  #: before the decision
    load: float  #: slots that what arrived in the last tick keeps busy
    decision: Decision


class Recording(Brain):
    """A brain that keeps its decisions."""

    def __init__(self, aims: Aims) -> None:
        super().__init__(aims)
        self.moments: list[Moment] = []

    def explain(self, view: View) -> Decision:
        pods = view.pods
        decision = super().explain(view)
        load = (view.arrivals + view.announced) * self._run_times.mean / TICK
        self.moments.append(Moment(view.now, pods, load, decision))
        return decision


def changes(moments: Sequence[Moment]) -> Iterator[Moment]:
    """Yield the moments at which the number of pods was changed."""
    return (moment for moment in moments if moment.decision.pods != moment.pods)
