"""How high a quantile is worth its price: raised by waits that come near the objective, lowered by calm."""

from __future__ import annotations

__all__ = ["Caution"]

_ALARM = 2 / 3  # of the objective
_STEP = 0.05
_BACK = 0.002  # steps back for each tick: eleven alarms a day keep the balance
_CALM, _FASTER = 0.1, 3.0  # of the objective: below it, so many times faster
_LATE = 0.25  # steps for each tick in which a task began too late
_START = 1.0


class Caution:
    """An index into the quantiles that moves by feedback, within bounds."""

    def __init__(self, highest: float) -> None:
        self._highest = highest
        self._level = _START

    @property
    def level(self) -> float:
        """From 0, the median, up to the highest; below it, a share of the margin for chance is left out."""
        return self._level

    def feel(self, longest_wait: float, late: int, objective: float, lowest: float) -> None:
        """Take in how long the task that began last had to wait, and how many began too late, once a tick.

        It goes down to ``lowest``, at least -1: then no margin for chance is left.
        """
        alarm = longest_wait / objective - _ALARM
        if alarm > 0:
            self._level += _STEP * min(alarm * 4, 2.0)
        if late:
            self._level += _LATE
        back = _STEP * _BACK * (_FASTER if longest_wait < _CALM * objective else 1.0)
        self._level = min(max(self._level - back, lowest), self._highest)
