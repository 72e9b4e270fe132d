"""Waiting awake for an answer that is nearly there.

The kernel takes longer to put a process to sleep and to wake it (some 60 µs) than a Redis on the same
machine takes to answer (some 30 µs), so a producer that waits awake for a moment sends twice as many.
"""

from __future__ import annotations

import os
import select
import time
from typing import Final, Protocol

__all__ = ["LOOK_AGAIN_AFTER", "WakefulWait"]

#: Within this an answer has to come for the waiting to pay.
_MOST_SECONDS: Final = 60e-6
#: As long as answers take longer, ever fewer are waited for awake, in the end each so many-th.
LOOK_AGAIN_AFTER: Final = 256


class _Socket(Protocol):
    def fileno(self) -> int: ...


class WakefulWait:
    """Waits for one connection's answers, awake as long as they come soon and there is a core to spare."""

    def __init__(self, connection: _Socket) -> None:
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._skip = 0 if _cores() > 1 else -1
        #: How many answers are slept over after the next one that is late.
        self._pause = 1

    def is_quiet(self) -> bool:
        """Whether there is nothing to read and the connection stands."""
        return not self._poll.poll(0)

    def wait(self) -> bool:
        """Return whether an answer is there; if not, the caller goes to sleep over it."""
        if self._skip:
            if self._skip > 0:
                self._skip -= 1
            return False
        until = time.perf_counter() + _MOST_SECONDS
        while True:
            if self._poll.poll(0):
                self._pause = 1
                return True
            if time.perf_counter() > until:
                self._skip = self._pause
                self._pause = min(2 * self._pause, LOOK_AGAIN_AFTER)
                return False


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
