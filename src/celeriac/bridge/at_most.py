"""A time limit for what a supervisor waits for: it looks after leases, and must not stand still."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from celeriac.core.errors import BrokerUnavailable

__all__ = ["at_most"]


class _TooLong(BaseException):
    """No ``except Exception`` on its way, as in a store's own retries, takes it for an error of the store."""


@contextmanager
def at_most(seconds: float, failure: str) -> Iterator[None]:
    """Raise :class:`BrokerUnavailable` once the block has waited for so many ``seconds``.

    In another thread than the main one, where tests run a worker, nothing limits the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TooLong:
        raise BrokerUnavailable(f"{failure} within {seconds:g} s") from None
    finally:
        signal.signal(signal.SIGALRM, before)
