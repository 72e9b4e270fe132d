"""The outbox of a Django project, with everything that it takes from its app."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.django.backlogs import OutboxBacklogs
from celeriac.bridge.outlet import AppOutlet
from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.django.depth import OutboxDepth, measure
from celeriac.django.fast_path import FastPath
from celeriac.django.outbox import TransactionalOutbox
from celeriac.django.relay import Relay
from celeriac.django.relays import Relays
from celeriac.django.replay import dead_ids, replay
from celeriac.django.tables import Tables

__all__ = ["OutboxDesk"]


class OutboxDesk:
    """Of one app; read first what it hands out."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._settings = read_settings(app)
        self._tables = Tables()

    @cached_property
    def outbox(self) -> TransactionalOutbox:
        """Where calls made inside a transaction go."""
        outlet = AppOutlet(self._app, self._settings.outbox_fast_seconds)
        return TransactionalOutbox(self._tables, FastPath(outlet, self._tables, self._settings))

    @cached_property
    def backlogs(self) -> OutboxBacklogs:
        """What measures all outboxes for those who are scraped."""
        return OutboxBacklogs(self._tables)

    def databases(self, only: str | None = None) -> list[str]:
        """Return the databases with an outbox, or the one that is asked for.

        Raises :class:`ConfigurationError` if there is none.
        """
        found = self._tables.aliases()
        if only is not None and only not in found:
            raise ConfigurationError(f"the database {only!r} has no outbox{did_you_mean(only, found)}")
        if not found:
            raise ConfigurationError("no database has an outbox: run manage.py migrate")
        return found if only is None else [only]

    def relays(self, only: str | None = None) -> Relays:
        """Return what publishes the outboxes of all databases, or of one."""
        outlet = AppOutlet(self._app)
        return Relays(
            lambda: [alias for alias in self._tables.aliases() if only in (None, alias)],
            lambda alias: Relay(alias, outlet, self._tables, self._settings),
        )

    def measure(self, databases: Sequence[str]) -> list[OutboxDepth]:
        """Return what waits in each of these databases."""
        return [measure(alias) for alias in databases]

    def dead_ids(self, database: str, tasks: Sequence[str]) -> list[int]:
        """Return the ids of dead messages, of all tasks or of some."""
        return dead_ids(database, tasks)

    def replay(self, database: str, ids: Sequence[int]) -> int:
        """Put dead messages back; return how many were there."""
        return replay(database, ids)
