"""The brain's decisions over some hours, as text and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.brain import Brain, Decision
from celeriac.deploy.scaling.view import TICK, View

__all__ = ["Moment", "Recording", "changes", "draw"]

_WIDTH, _HEIGHT, _LEFT, _TOP = 960, 320, 46, 44


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


def draw(moments: Sequence[Moment], slots_per_pod: int) -> str:
    """Return an SVG picture: the load, the forecast from median to quantile, and the slots asked for."""
    highest = 1.05 * max(max(m.load, m.decision.load, m.decision.pods * slots_per_pod, 1.0) for m in moments)
    begin, end = moments[0].now, max(moments[-1].now, moments[0].now + TICK)

    def at(now: float, slots: float) -> str:
        x = _LEFT + (now - begin) / (end - begin) * (_WIDTH - _LEFT - 10)
        return f"{x:.1f},{_TOP + (1 - slots / highest) * (_HEIGHT - _TOP - 30):.1f}"

    band = [at(m.now, m.decision.load) for m in moments]
    band += [at(m.now, m.decision.median) for m in reversed(moments)]
    steps = [at(moments[0].now, moments[0].decision.pods * slots_per_pod)]
    for before, after in pairwise(moments):
        steps += [at(after.now, moment.decision.pods * slots_per_pod) for moment in (before, after)]
    urgent = (m for m in moments if m.decision.urgent > m.decision.load + m.decision.margin)
    dots = [at(m.now, 0.0).split(",") for m in urgent]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
            '<g font-family="sans-serif" font-size="12">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            *_legend(),
            *_axes(begin, end, highest),
            f'<polygon points="{" ".join(band)}" fill="#90caf9" fill-opacity="0.6"/>',
            *(f'<circle cx="{x}" cy="{y}" r="1.5" fill="#c62828"/>' for x, y in dots),
            _line([at(m.now, m.load) for m in moments], "#455a64"),
            _line(steps, "#2e7d32", 2),
            "</g></svg>\n",
        ]
    )


def _line(points: Sequence[str], colour: str, width: int = 1) -> str:
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _legend() -> Iterator[str]:
    told = (
        ("#455a64", "load, in slots"),
        ("#90caf9", "forecast, median to quantile"),
        ("#2e7d32", "slots asked for"),
        ("#c62828", "backlog or bursts decide"),
    )
    for index, (colour, text) in enumerate(told):
        left = _LEFT + index * 236
        yield f'<rect x="{left}" y="12" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{left + 18}" y="22">{text}</text>'


def _axes(begin: float, end: float, highest: float) -> Iterator[str]:
    bottom = _HEIGHT - 30
    for part in (0.0, 0.5, 1.0):
        y = _TOP + (1 - part) * (bottom - _TOP)
        yield f'<line x1="{_LEFT}" y1="{y:.0f}" x2="{_WIDTH - 10}" y2="{y:.0f}" stroke="#e0e0e0"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{part * highest:.0f}</text>'
        x = _LEFT + part * (_WIDTH - _LEFT - 10)
        hours = (begin + part * (end - begin)) / 3600
        anchor = ("start", "middle", "end")[int(part * 2)]
        yield f'<text x="{x:.0f}" y="{_HEIGHT - 10}" text-anchor="{anchor}">hour {hours:.1f}</text>'
