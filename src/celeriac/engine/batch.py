"""How many messages to claim at once, from how long they have been taking. Pure."""

from __future__ import annotations

__all__ = ["BatchSize"]

_WEIGHT = 0.2
_GROWTH = 4


class BatchSize:
    """Aims at a fixed time of work for each claim.

    Starts at one message, so that a slow task never has others waiting behind it in its shard;
    grows fourfold at most from claim to claim, shrinks at once.
    """

    def __init__(self, aim: float, limit: int) -> None:
        """Aim at ``aim`` seconds of work and at most ``limit`` messages."""
        self._aim = aim
        self._limit = limit
        self._mean: float | None = None
        self.current = 1

    def learn(self, count: int, seconds: float) -> None:
        """Take into account that ``count`` messages took ``seconds`` to run."""
        if count == 0:
            return
        each = seconds / count
        if self._mean is None or each > self._mean:
            self._mean = each
        else:
            self._mean += _WEIGHT * (each - self._mean)
        fitting = self._aim / self._mean if self._mean > 0 else self._limit
        self.current = max(1, int(min(fitting, self._limit, self.current * _GROWTH)))
