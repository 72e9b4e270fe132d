"""Celery's logical clock, shared by a worker's processes, so that their events are in one order."""

from __future__ import annotations

import mmap
import struct
from typing import Any

from kombu.clocks import LamportClock

__all__ = ["SharedClock"]

_VALUE = struct.Struct("<Q")


class SharedClock(LamportClock):
    """Made before the fork. Two processes that tick at the same instant may get the same time."""

    def __init__(self, initial_value: int = 0, **options: Any) -> None:
        self._memory = mmap.mmap(-1, _VALUE.size)
        super().__init__(initial_value, **options)

    @property
    def value(self) -> int:
        """The present time."""
        return int(_VALUE.unpack_from(self._memory)[0])

    @value.setter
    def value(self, value: int) -> None:
        _VALUE.pack_into(self._memory, 0, value)
