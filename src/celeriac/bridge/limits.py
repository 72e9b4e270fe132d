"""Time limits: a worker's own, and Celery's soft one in a process that runs one task at a time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from celery.exceptions import SoftTimeLimitExceeded

__all__ = ["NO_LIMITS", "TimeLimits", "is_limit", "soft_time_limit", "worker_limits"]


class TimeLimits(NamedTuple):
    """Seconds a task may run if neither its message nor the task itself says anything."""

    hard: float | None
    soft: float | None


#: Seconds; what is longer overflows the system's timers.
_LONGEST = 1e9

#: This very object says that there is nothing to look at for each task.
NO_LIMITS = TimeLimits(None, None)


def is_limit(value: object) -> bool:
    """Whether this is a number of seconds that a timer takes; 0 stands for no limit."""
    return type(value) in (int, float) and 0 <= value <= _LONGEST  # type: ignore[operator]


def worker_limits(worker: Any) -> TimeLimits:
    """Return what ``--time-limit`` and ``--soft-time-limit`` ask for."""
    if not (worker.time_limit or worker.soft_time_limit):
        return NO_LIMITS
    return TimeLimits(worker.time_limit, worker.soft_time_limit)


@contextmanager
def soft_time_limit(seconds: float) -> Iterator[None]:
    """Raise SoftTimeLimitExceeded in the block once it has run for ``seconds``; main thread only."""

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise SoftTimeLimitExceeded(seconds)

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
