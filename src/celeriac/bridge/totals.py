"""How many tasks of each name a worker has started, counted in memory that its processes share."""

from __future__ import annotations

import mmap
from collections.abc import Iterable

__all__ = ["Counter", "Totals"]

_ROWS = 256


class Counter:
    """One process's counts; no other writes them, so that no lock is needed."""

    def __init__(self, places: dict[str, int], counts: memoryview) -> None:
        self._places = places
        self._counts = counts

    def add(self, name: str) -> None:
        """Count one task; its name is unknown if it was registered after the fork."""
        place = self._places.get(name)
        if place is not None:
            self._counts[place] += 1


class Totals:
    """Made before the fork, with a row for each shard; a shard that replaces another counts on."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)
        self._places = {name: place for place, name in enumerate(self._names)}
        self._counts = memoryview(mmap.mmap(-1, max(8 * _ROWS * len(self._names), 8))).cast("Q")

    def counter(self, shard: int) -> Counter:
        """Return the counter of the shard with this number."""
        start = (shard % _ROWS) * len(self._names)
        return Counter(self._places, self._counts[start : start + len(self._names)])

    def by_name(self) -> dict[str, int]:
        """Return how many tasks of each name have been started, if any."""
        width = len(self._names)
        sums = {name: sum(self._counts[place::width]) for place, name in enumerate(self._names)}
        return {name: count for name, count in sums.items() if count}
