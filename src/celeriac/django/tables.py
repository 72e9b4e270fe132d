"""Which databases have an outbox, and the SQL for it."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from django.db import Error, connections, router

from celeriac.django.models import OutboxMessage
from celeriac.django.statements import Statements

__all__ = ["Tables"]

logger = logging.getLogger("celeriac.outbox")

#: Seconds for which a database without a table is not asked again.
_PATIENCE: Final = 5.0


class Tables:
    """What is known of each database; the only good news that never changes is that there is a table."""

    def __init__(self) -> None:
        self._statements: dict[str, Statements] = {}
        self._missing: dict[str, float] = {}
        self._warned: set[str] = set()

    def on(self, alias: str) -> Statements:
        """Return the statements for that database."""
        found = self._statements.get(alias)
        if found is None:
            found = self._statements[alias] = Statements(connections[alias])
        return found

    def usable(self, alias: str) -> bool:
        """Return whether the database has an outbox; warn once of one that should and does not."""
        return alias in self._statements or self._look(alias)

    def aliases(self) -> list[str]:
        """Return all databases that have an outbox; warn of those that cannot be asked."""
        found = []
        for alias in connections:
            try:
                if self.usable(alias):
                    found.append(alias)
            except Error as error:
                connections[alias].close()
                logger.warning("whether the database %r has an outbox is not known now: %s", alias, error)
        return found

    def _look(self, alias: str) -> bool:
        if time.monotonic() < self._missing.get(alias, 0.0):
            return False
        if not router.allow_migrate_model(alias, OutboxMessage):
            return False
        problem = _problem(connections[alias])
        if problem is None:
            self.on(alias)
            return True
        self._missing[alias] = time.monotonic() + _PATIENCE
        if alias not in self._warned:
            self._warned.add(alias)
            logger.warning(
                "calls inside transactions of the database %r are sent at once, whatever becomes of the "
                "transaction: %s",
                alias,
                problem,
            )
        return False


def _problem(connection: Any) -> str | None:
    """Return what keeps the database from having an outbox, and what to do; None if nothing does."""
    features = connection.features
    if features.has_select_for_update and not features.has_select_for_update_skip_locked:
        return "it cannot skip locked rows; use MariaDB 10.6, MySQL 8.0.1 or newer"
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
    if OutboxMessage._meta.db_table in names:
        return None
    return f"it has no table for them; run manage.py migrate --database {connection.alias}"
