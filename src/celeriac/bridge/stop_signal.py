"""Signals that ask a loop to end."""

from __future__ import annotations

import signal
from types import FrameType

__all__ = ["StopSignal"]


class StopSignal:
    """Called, it says whether one of the signals has come."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._came = False
        for number in numbers:
            signal.signal(number, self._handle)

    def __call__(self) -> bool:
        return self._came

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
