"""Time limits: a worker's own, and Celery's soft one in a process that runs one task at a time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from celery._state import get_current_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_logger

__all__ = ["NO_LIMITS", "TimeLimits", "soft_time_limit", "worker_limits"]


# The name under which Celery itself logs this, and under which people look for it.
logger = get_logger("celery.worker.request")


class TimeLimits(NamedTuple):
    """Seconds a task may run if neither its message nor the task itself says anything."""

    hard: float | None
    soft: float | None


#: This very object says that there is nothing to look at for each task.
NO_LIMITS = TimeLimits(None, None)


def worker_limits(worker: Any) -> TimeLimits:
    """Return what ``--time-limit`` and ``--soft-time-limit`` ask for."""
    if not (worker.time_limit or worker.soft_time_limit):
        return NO_LIMITS
    return TimeLimits(worker.time_limit, worker.soft_time_limit)


@contextmanager
def soft_time_limit(seconds: float) -> Iterator[None]:
    """Raise SoftTimeLimitExceeded in the block once it has run for ``seconds``.

    In another thread than the main one, where tests run a worker, nothing limits the block: signals
    do not reach it, and Celery's solo pool limits nothing either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_number: int, _frame: FrameType | None) -> None:
        if (task := get_current_task()) is not None:
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", seconds, task.name, task.request.id)
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
