"""How much waits in a Django project's outboxes, for those who are scraped."""

from __future__ import annotations

import logging

from django.db import Error, connections

from celeriac.django.depth import OutboxDepth, measure
from celeriac.django.tables import Tables

__all__ = ["OutboxBacklogs"]

logger = logging.getLogger("celeriac.outbox")


class OutboxBacklogs:
    """May be called in any thread: each call has database connections of its own."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._failing: set[str] = set()

    def __call__(self) -> list[OutboxDepth]:
        """Return the numbers of each database that has an outbox and answers."""
        try:
            return [found for alias in self._tables.aliases() if (found := self._measure(alias)) is not None]
        finally:
            connections.close_all()  # a scrape may have been answered in a thread that ends with it

    def _measure(self, alias: str) -> OutboxDepth | None:
        try:
            found = measure(alias)
        except Error as error:
            if alias not in self._failing:
                self._failing.add(alias)
                logger.warning("how much waits in the outbox of %r is not known now: %s", alias, error)
            return None
        self._failing.discard(alias)
        return found
