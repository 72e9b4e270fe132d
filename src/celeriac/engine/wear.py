"""When a shard's process makes room for a fresh one."""

from __future__ import annotations

import resource
import sys

__all__ = ["Wear"]

#: ``ru_maxrss`` is in KiB, on macOS in bytes.
_UNITS_PER_KIB = 1024 if sys.platform == "darwin" else 1


class Wear:
    """Counts the deliveries a process has run, and looks at the most memory it ever held."""

    def __init__(self, max_tasks: int | None = None, max_memory: int | None = None) -> None:
        """``max_memory`` is in KiB of resident memory; None: no limit."""
        self.ran = 0
        self._max_tasks = max_tasks
        self._max_memory = max_memory

    @property
    def out(self) -> bool:
        """Whether the process has done enough; one that has run nothing is never worn out."""
        if self._max_tasks is not None and self.ran >= self._max_tasks:
            return True
        return self._max_memory is not None and self.ran > 0 and _peak_memory() > self._max_memory


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNITS_PER_KIB
