"""Demand that is known: what is due, and what a beat entry has made of its firings so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.deploy.scaling.load import Floats
from celeriac.deploy.scaling.view import TICK, Due, Firing

__all__ = ["FanOut", "arrivals_ahead"]

_REMEMBERED = 8


class FanOut:
    """Learns how many tasks each beat entry makes, and over how long they arrive."""

    def __init__(self) -> None:
        self._firings: dict[str, list[Firing]] = {}

    def learn(self, fired: Sequence[Firing]) -> None:
        for firing in fired:
            kept = self._firings.setdefault(firing.entry, [])
            kept.append(firing)
            del kept[:-_REMEMBERED]

    def expected(self, due: Due) -> Due | None:
        """Return how many tasks are to come and when; None for an entry that has never been seen to fire.

        An entry is expected to make as many as the greatest of its last firings, as quickly as the median.
        """
        if due.tasks is not None:
            return due
        firings = self._firings.get(due.entry)
        if not firings:
            return None
        seconds = sorted(firing.seconds for firing in firings)[len(firings) // 2]
        return Due(due.at, max(firing.tasks for firing in firings), seconds, due.entry)


def arrivals_ahead(
    due: Sequence[Due], fan_out: FanOut, now: float, ticks: int, begin_within: float
) -> Floats:
    """Return for each of the next ticks how many announced tasks arrive in it.

    What begins later than ``begin_within`` seconds from now is left out: there is time to see to it.
    """
    edges = now + np.arange(ticks + 1) * TICK
    arrivals = np.zeros(ticks)
    for announced in due:
        known = fan_out.expected(announced)
        if known is None or known.tasks is None or known.at > now + begin_within:
            continue
        seconds = max(known.seconds, 1.0)
        part = np.clip((edges - known.at) / seconds, 0.0, 1.0)
        arrivals += np.diff(part) * known.tasks
    return arrivals
