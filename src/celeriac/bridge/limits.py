"""Time limits: a worker's own, and Celery's soft one in a process that runs one task at a time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from types import FrameType
from typing import Any, NamedTuple

from celery._state import get_current_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_logger

from celeriac.bridge.kept_loop import throw_into_loop
from celeriac.core.errors import MalformedMessage

__all__ = [
    "NO_LIMITS",
    "GivenUp",
    "TimeLimits",
    "hard_time_limit",
    "is_limit",
    "requested_limits",
    "soft_time_limit",
    "worker_limits",
]

#: Seconds after which a body that has not ended is told so again.
_AGAIN = 1.0


# The name under which Celery itself logs this, and under which people look for it.
logger = get_logger("celery.worker.request")


class TimeLimits(NamedTuple):
    """Seconds a task may run if neither its message nor the task itself says anything."""

    hard: float | None
    soft: float | None


#: Seconds; what is longer overflows the system's timers.
_LONGEST = 1e9

_UNLIMITED = [None, None]

#: This very object says that there is nothing to look at for each task.
NO_LIMITS = TimeLimits(None, None)


def is_limit(value: object) -> bool:
    """Whether this is a number of seconds that a timer takes; 0 stands for no limit."""
    return type(value) in (int, float) and 0 <= value <= _LONGEST  # type: ignore[operator]


def requested_limits(header: Any) -> tuple[float | None, float | None]:
    """Return the hard and soft limit that the message asks for, in seconds."""
    if not header or header == _UNLIMITED:
        return None, None
    pair = header if isinstance(header, list | tuple) else ()
    if len(pair) != 2 or not all(limit is None or is_limit(limit) for limit in pair):
        raise MalformedMessage(f"its timelimit {header!r} is not two numbers of seconds")
    return pair[0], pair[1]


def worker_limits(worker: Any) -> TimeLimits:
    """Return what ``--time-limit`` and ``--soft-time-limit`` ask for."""
    if not (worker.time_limit or worker.soft_time_limit):
        return NO_LIMITS
    return TimeLimits(worker.time_limit, worker.soft_time_limit)


class GivenUp(BaseException):
    """Raised in a body that is over its hard time limit or was terminated, so that it ends."""


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
        _raise_in_body(SoftTimeLimitExceeded())

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def hard_time_limit(seconds: float, soft: float | None) -> Iterator[None]:
    """Raise GivenUp once the block has run for ``seconds``, and every second from then on until it ends.

    Before that SoftTimeLimitExceeded, once, if there is a ``soft`` limit. Main thread only.
    """
    due = [soft] if soft and soft < seconds else []

    def expire(_number: int, _frame: FrameType | None) -> None:
        if due:
            passed = due.pop()
            signal.setitimer(signal.ITIMER_REAL, seconds - passed, _AGAIN)
            _raise_in_body(SoftTimeLimitExceeded(passed))
        else:
            _raise_in_body(GivenUp())

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, due[0] if due else seconds, _AGAIN)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # also if the limit has passed in the very last moment
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise_in_body(error: BaseException) -> None:
    if not throw_into_loop(get_ident(), error):
        raise error
