"""How many tasks have come, from what is there and what has ended; a delayed one comes when it is due."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

__all__ = ["Arrivals"]

#: Seconds after which messages that vanished without having been run are no longer waited for.
_VANISHED = 60.0


class Arrivals:
    """The tasks of one pool; workers tell later than the broker what has ended."""

    def __init__(self) -> None:
        self._arrived = 0
        self._ended = 0
        self._offset: int | None = None
        self._delayed = 0
        self._behind_since: float | None = None
        self._expected: list[float] = []

    def since(
        self, now: float, present: int, delayed: int, ended: int, due: Sequence[float]
    ) -> tuple[int, int]:
        """Return the tasks that came unannounced since the call before, and those that had been announced.

        ``present`` wait or run, ``delayed`` are held back, the first of them until ``due`` (sorted Unix
        seconds), ``ended`` have ended since.
        """
        self._ended += ended
        balance = present + self._ended
        before = self._arrived
        offset = balance if self._offset is None else self._offset
        self._offset = self._rise(now, balance, offset, delayed - self._delayed)
        self._delayed = delayed
        came = self._arrived - before
        announced = min(bisect_right(self._expected, now), came)
        self._expected = list(due)
        return came - announced, announced

    def _rise(self, now: float, balance: int, offset: int, held_back: int) -> int:
        """Count what has come, and return what the balance is to be compared with from now on."""
        missing = self._arrived - (balance - offset)
        if missing > 0 and held_back > 0:  # a worker has seen that they are not due yet
            offset -= min(missing, held_back)
            missing -= min(missing, held_back)
        if missing <= 0:
            self._arrived, self._behind_since = self._arrived - missing, None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since > _VANISHED:
            offset -= missing
            self._behind_since = None
        return offset
