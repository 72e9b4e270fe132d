"""Waiting for another process to write to a file, without looking all the time."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time
from pathlib import Path
from typing import Final

__all__ = ["WriteWatch"]

#: Seconds between two looks where the system does not tell of writes.
POLL: Final = 0.01
#: The same where it does, lest one be missed.
DOUBT: Final = 0.5
#: From linux/inotify.h.
IN_MODIFY: Final = 0x2


class WriteWatch:
    """Tells of writes to one file that exists; by inotify on Linux, elsewhere by the clock."""

    def __init__(self, path: Path) -> None:
        self._descriptor = _inotify(path)

    def wait(self, seconds: float) -> None:
        """Return soon after a write since the last wait, at latest after ``seconds``; perhaps for nothing."""
        if self._descriptor is None:
            time.sleep(min(seconds, POLL))
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if poll.poll(1000 * min(seconds, DOUBT)):
            os.read(self._descriptor, 4096)

    def close(self) -> None:
        """Stop watching; from then on only the clock tells."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _inotify(path: Path) -> int | None:
    """Return a descriptor that is readable after a write to the file; None if the system has none."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:  # the user has too many of them (fs.inotify.max_user_instances)
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(path), IN_MODIFY) < 0:
        os.close(descriptor)
        return None
    return descriptor
