"""Celery's soft time limit in a process that runs one task at a time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from types import FrameType

from celery.exceptions import SoftTimeLimitExceeded

from celeriac.bridge.kept_loop import throw_into_loop

__all__ = ["soft_time_limit"]


@contextmanager
def soft_time_limit(seconds: float) -> Iterator[None]:
    """Raise SoftTimeLimitExceeded in the block once it has run for ``seconds``; main thread only."""

    def expire(_number: int, _frame: FrameType | None) -> None:
        error = SoftTimeLimitExceeded(seconds)
        if not throw_into_loop(get_ident(), error):
            raise error

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
