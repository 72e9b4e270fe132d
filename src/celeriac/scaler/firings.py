"""What beat's entries have made of their firings: tasks beyond those that came just before."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median

from celeriac.deploy.scaling.view import TICK, Firing

__all__ = ["Firings"]

_USUAL = 20  # ticks that say what is usual
_QUIET = 2  # ticks without more than usual, after which a firing has ended
_LONGEST = 900.0  # seconds
_CHANCE = 3.0  # standard deviations of a count that are nothing special


class _Open:
    def __init__(self, entries: Mapping[str, float], usual: float) -> None:
        self.entries = entries
        self.begun = min(entries.values())
        self.usual = usual
        self.tasks = 0.0
        self.first = self.last = 0.0
        self.quiet = 0


class Firings:
    """Follows one pool; entries that fire together share what comes, as far as they have done so alone."""

    def __init__(self) -> None:
        self._lately: deque[int] = deque(maxlen=_USUAL)
        self._open: _Open | None = None
        self._alone: dict[str, int] = {}

    def since(self, now: float, arrivals: int, fired: Mapping[str, float]) -> tuple[int, Sequence[Firing]]:
        """Return how many of the tasks that came are an entry's, and the firings that have ended.

        ``fired`` are the entries that were due since the call before, and when.
        """
        ended: list[Firing] = []
        if fired:
            ended += self._close()
            self._open = _Open(fired, median(self._lately) if self._lately else 0.0)
        if self._open is None:
            self._lately.append(arrivals)
            return 0, ended
        mine = self._take(self._open, now, arrivals)
        if self._open.quiet >= _QUIET or now - self._open.begun > _LONGEST:
            ended += self._close()
        return mine, ended

    def _take(self, firing: _Open, now: float, arrivals: int) -> int:
        more = arrivals - firing.usual
        if more <= _CHANCE * math.sqrt(firing.usual):
            firing.quiet += 1
            return 0
        firing.quiet = 0
        firing.first = firing.first or max(now - TICK, firing.begun)
        firing.last = now
        firing.tasks += more
        return min(round(more), arrivals)

    def _close(self) -> list[Firing]:
        firing, self._open = self._open, None
        if firing is None:
            return []
        seconds = firing.last - firing.first
        shares = self._shares(list(firing.entries), firing.tasks)
        if len(shares) == 1:
            self._alone |= shares
        return [Firing(entry, tasks, seconds) for entry, tasks in shares.items()]

    def _shares(self, entries: list[str], tasks: float) -> dict[str, int]:
        known = {entry: self._alone[entry] for entry in entries if entry in self._alone}
        rest = [entry for entry in entries if entry not in known]
        whole = sum(known.values())
        if not rest and whole:
            return {entry: round(tasks * count / whole) for entry, count in known.items()}
        if not rest:
            return {entry: round(tasks / len(entries)) for entry in entries}
        left = max(tasks - whole, 0.0) / len(rest)
        return {**known, **{entry: round(left) for entry in rest}}
