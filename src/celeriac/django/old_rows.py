"""Rows that are too old to matter are deleted, a few now and then by whoever adds some."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

__all__ = ["OldRows", "delete_first", "purge"]

logger = logging.getLogger("celeriac.django")

#: After so many rows of this process it deletes up to twice as many, so that the table cannot grow.
_EVERY: Final = 500
_BATCH: Final = 1_000

#: Deletes up to so many of what is older than a moment in one database; returns how many these were.
DeleteBefore = Callable[[str, datetime, int], int]


class OldRows:
    """Of one kind; belongs to one process and all its threads."""

    def __init__(self, delete_before: DeleteBefore, seconds: float) -> None:
        """``seconds`` is how long a row is kept at least."""
        self._delete_before = delete_before
        self._age = timedelta(seconds=seconds)
        self._lock = threading.Lock()
        # The first time comes soon, as a process may not live to see so many.
        self._left = 10

    def added(self, using: str) -> None:
        """One row has been added and committed; what the database refuses is tried again another time."""
        with self._lock:
            self._left -= 1
            if self._left > 0:
                return
            self._left = _EVERY
        try:
            self._delete_before(using, timezone.now() - self._age, _BATCH)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("old rows could not be deleted: %s", error)


def purge(delete_before: DeleteBefore, using: str, seconds: float) -> int:
    """Delete all rows that are older, in batches of a transaction each; return how many these were."""
    before = timezone.now() - timedelta(seconds=seconds)
    total = 0
    while found := delete_before(using, before, _BATCH):
        total += found
    return total


def delete_first(rows: Any, limit: int) -> int:
    """Delete up to ``limit`` rows of the query; return how many these were.

    Those that somebody else deletes just now are left to them, where the database can tell.
    """
    using = rows.db
    with transaction.atomic(using=using):
        if connections[using].features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        found = list(rows.values_list("pk", flat=True)[:limit])
        if found:
            rows.model._base_manager.using(using).filter(pk__in=found)._raw_delete(using)
    return len(found)
