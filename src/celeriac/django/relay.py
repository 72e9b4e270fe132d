"""Publishes what the fast path has left in one database's outbox."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

from django.db import Error, connections

from celeriac.core.errors import BrokerUnavailable
from celeriac.core.outbox import Outlet
from celeriac.core.settings import Settings
from celeriac.django.breaker import Breaker
from celeriac.django.claims import Claims
from celeriac.django.dispatch import dispatch
from celeriac.django.election import election_for
from celeriac.django.models import OutboxMessage
from celeriac.django.retention import Retention
from celeriac.django.tables import Tables

__all__ = ["Relay"]

logger = logging.getLogger("celeriac.outbox")

#: Seconds between two looks: after a message, and doubled with each look that finds none.
SOON: Final = 0.005
#: Seconds between two looks from the very beginning: rows with low ids may have been committed late.
SWEEP: Final = 1.0
#: Seconds between two tries while the broker, or the database, is away: at first, and at most.
AWAY_FIRST: Final = 0.1
AWAY_LAST: Final = 5.0


class Relay:
    """Belongs to one thread. Ended at any moment it leaves every row published, or as it was.

    Rows are taken in the order of their ids, from where the last claim ended: what is deleted stays in
    the way of a search from the beginning until the database has cleaned up. The whole is searched
    every second.
    """

    def __init__(self, database: str, outlet: Outlet, tables: Tables, settings: Settings) -> None:
        self.database = database
        #: Messages published since it was made.
        self.relayed = 0
        self._outlet = outlet
        self._settings = settings
        self._claims = Claims(database, tables.on(database))
        self._election = election_for(connections[database], locking=self._claims.locking)
        self._retention = Retention(database, settings.outbox_dead_retention_seconds)
        self._breaker = Breaker(AWAY_FIRST, AWAY_LAST)
        self._pause = SOON
        self._after = 0
        self._swept_at = float("-inf")
        self._waiting: frozenset[str] = frozenset()

    def tick(self) -> float:
        """Publish a batch, if there is one; return the seconds until the next look."""
        try:
            if not self._election.won():
                return self._settings.outbox_poll_seconds
            found = self._round()
        except BrokerUnavailable as error:
            return self._wait_longer("its broker is away", error)
        except Error as error:
            connections[self.database].close()
            return self._wait_longer("the database has failed", error)
        if self._breaker.doubtful:
            logger.info("the outbox of %r is relayed again", self.database)
            self._breaker.succeeded()
        if found:
            return 0.0
        self._pause = min(max(SOON, self._pause * 2), self._settings.outbox_poll_seconds)
        return self._pause

    def has_rows(self) -> bool:
        """Return whether anything is in the outbox."""
        return bool(OutboxMessage.objects.using(self.database).exists())

    def close(self) -> None:
        """Let another relay take over; this one may go on later."""
        self._election.resign()
        connections[self.database].close()

    def _round(self) -> bool:
        """Return whether there were rows."""
        if monotonic() >= self._swept_at + SWEEP:
            self._sweep()
        limit = 1 if self._breaker.doubtful else self._settings.outbox_batch_max
        with self._claims.next(self._after, limit, self._waiting) as claim:
            done = dispatch(self._claims, claim, self._outlet, self._settings.outbox_max_attempts)
        self.relayed += done.left
        if done.dead:
            logger.error("%d messages were refused for good: see celeriac outbox status", done.dead)
        if claim.rows:
            self._pause = 0.0
        if claim.last:
            # What waits behind an earlier row is looked for again when there is nothing else.
            self._waiting |= claim.waiting
            self._after = claim.last
            return True
        if self._waiting:
            self._waiting = frozenset()
            self._after = 0
        return False

    def _sweep(self) -> None:
        self._swept_at = monotonic()
        self._after = 0
        self._retention.tick()

    def _wait_longer(self, why: str, error: Exception) -> float:
        first = not self._breaker.doubtful
        pause = self._breaker.failed()
        self._after = 0
        if first:
            logger.warning("the outbox of %r waits, as %s: %s", self.database, why, error)
        return pause
