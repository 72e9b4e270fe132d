"""Keeps away from a broker that does not answer, for longer and longer."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

__all__ = ["Breaker"]


class Breaker:
    """Open after a failure until its time is over; closed again by the first success."""

    def __init__(self, first: float, most: float, clock: Callable[[], float] = monotonic) -> None:
        """``first`` and ``most`` are seconds: after one failure, and after many."""
        self._first = first
        self._most = most
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nothing should be tried now."""
        return self._failures > 0 and self._clock() < self._until

    @property
    def doubtful(self) -> bool:
        """Whether the last try failed, so that the next one should be a small one."""
        return self._failures > 0

    def failed(self) -> float:
        """Be open; return for how many seconds."""
        seconds: float = min(self._first * 2**self._failures, self._most)
        self._failures = min(self._failures + 1, 30)
        self._until = self._clock() + seconds
        return seconds

    def succeeded(self) -> None:
        """Be closed."""
        self._failures = 0
