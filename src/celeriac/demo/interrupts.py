"""Requests to end, and the moments in which they must wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible", "uninterrupted"]

_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """The first request to end interrupts the block; later ones do not disturb its cleaning up."""

    def interrupt(*_: object) -> None:
        for request in _REQUESTS:
            signal.signal(request, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {request: signal.signal(request, interrupt) for request in _REQUESTS}
    try:
        yield
    finally:
        for request, handler in before.items():
            signal.signal(request, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A request to end that comes within the block takes effect right after it."""
    heard: list[int] = []
    before = {
        request: signal.signal(request, lambda number, _frame: heard.append(number)) for request in _REQUESTS
    }
    try:
        yield
    finally:
        for request, handler in before.items():
            signal.signal(request, handler)
    if heard:
        signal.raise_signal(heard[0])
