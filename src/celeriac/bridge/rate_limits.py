"""Celery's rate limits: for each task, so many starts in a time for each worker, not for each process."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["RateLimits"]

#: Unix seconds from which the next may start, and those promised to the next that has to wait.
_TURNS = struct.Struct("<dd")
#: Most seconds a message waits before it asks again, so that a raised limit is soon felt.
_LONGEST_WAIT = 30.0
#: A message that comes back this share of an interval too early, or this many seconds, is in time.
_EARLY_SHARE, _EARLY_MOST = 0.1, 0.02


class RateLimits:
    """Turns to start, given to all shards of a worker; made before the fork.

    What must wait gets a turn of its own, so that those waiting do not all come back at once.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._places = {name: place * _TURNS.size for place, name in enumerate(names)}
        self._memory = mmap.mmap(-1, max(len(self._places), 1) * _TURNS.size)
        # Record locks belong to a process and end with it, whatever kills it.
        self._lock = os.memfd_create("celeriac-rate-limits", os.MFD_CLOEXEC)

    def wait_until(self, name: str, per_second: float, now: float) -> float | None:
        """Take a turn and return None; or return the Unix seconds at which to ask again."""
        place = self._places.get(name)
        if place is None:
            return None
        interval = 1 / per_second
        with self._locked():
            free, promised = _TURNS.unpack_from(self._memory, place)
            if now + min(interval * _EARLY_SHARE, _EARLY_MOST) >= free:
                _TURNS.pack_into(self._memory, place, max(free, now) + interval, promised)
                return None
            turn = float(max(free, promised))
            if turn > now + _LONGEST_WAIT:
                return now + _LONGEST_WAIT * random.uniform(0.5, 1)
            _TURNS.pack_into(self._memory, place, free, turn + interval)
            return turn

    def forget(self, name: str) -> None:
        """Begin anew with this task: its limit has changed."""
        place = self._places.get(name)
        if place is not None:
            with self._locked():
                _TURNS.pack_into(self._memory, place, 0.0, 0.0)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
