"""Entries of the inbox that are too old to matter are deleted, a few now and then by whoever adds some."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Final

from django.utils import timezone

from celeriac.django import inbox_table

__all__ = ["Retention", "purge"]

#: After so many entries of this process it deletes up to twice as many, so that the table cannot grow.
_EVERY: Final = 500
_BATCH: Final = 1_000


class Retention:
    """Belongs to one process and all its threads."""

    def __init__(self, seconds: float) -> None:
        """``seconds`` is how long an entry is kept at least."""
        self._age = timedelta(seconds=seconds)
        self._lock = threading.Lock()
        # The first time comes soon, as a process may not live to see so many.
        self._left = 10

    def added(self, using: str) -> None:
        """One entry has been added and committed."""
        with self._lock:
            self._left -= 1
            if self._left > 0:
                return
            self._left = _EVERY
        inbox_table.delete_before(using, timezone.now() - self._age, _BATCH)


def purge(using: str, seconds: float) -> int:
    """Delete all entries that are older, in batches of a transaction each; return how many these were."""
    before = timezone.now() - timedelta(seconds=seconds)
    total = 0
    while found := inbox_table.delete_before(using, before, _BATCH):
        total += found
    return total
