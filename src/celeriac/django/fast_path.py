"""What a transaction has kept leaves right after its commit, sent by the process that has committed it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from time import monotonic
from typing import Any, Final

from django.utils import timezone

from celeriac.core.errors import BrokerUnavailable
from celeriac.core.outbox import Outlet
from celeriac.core.settings import Settings
from celeriac.django.breaker import Breaker
from celeriac.django.claims import Claims, moment
from celeriac.django.dispatch import dispatch
from celeriac.django.tables import Tables

__all__ = ["FastPath"]

logger = logging.getLogger("celeriac.outbox")

#: Seconds without a try after a failure, so that not every request waits for a broker that is away.
PAUSE_FIRST: Final = 1.0
PAUSE_LAST: Final = 15.0
#: Seconds for which a row is held longer than its process may take to publish it.
MARGIN: Final = 0.5


class FastPath:
    """Best effort: whatever it does not get done is left to the relay."""

    def __init__(self, outlet: Outlet, tables: Tables, settings: Settings) -> None:
        self._outlet = outlet
        self._tables = tables
        self._settings = settings
        self._breaker = Breaker(PAUSE_FIRST, PAUSE_LAST)

    def held_until(self, connection: Any) -> Any:
        """Return until when a row written now is this process' own; None where locks say so."""
        if self._tables.on(connection.alias).skips_locked or self._breaker.is_open:
            return None
        seconds = self._settings.outbox_fast_seconds + MARGIN
        return moment(connection, timezone.now() + timedelta(seconds=seconds))

    def expect(self, connection: Any, ids: Sequence[int], written: float) -> None:
        """The rows leave when the open transaction commits; ``written`` is when their time began to run."""
        hooks = connection.run_on_commit
        last = hooks[-1][1] if hooks else None
        together = last.together if isinstance(last, _Departure) else _Together(written)
        together.ids += ids
        connection.on_commit(_Departure(self, connection, ids, together), robust=True)

    def leave(self, database: str, ids: Sequence[int], written: float) -> None:
        """Publish the rows, in the order of their ids, while there is time; never raise."""
        if self._breaker.is_open:
            return
        began = monotonic()
        patience = self._settings.outbox_fast_seconds
        statements = self._tables.on(database)
        if not statements.skips_locked and began > written + MARGIN:
            return  # the relay may have them already
        claims = Claims(database, statements)
        try:
            for part in _parts(ids, self._settings.outbox_batch_max):
                if monotonic() > began + patience:
                    return
                self._publish(claims, part)
        except BrokerUnavailable as error:
            pause = self._breaker.failed()
            logger.warning("calls wait in the outbox for the relay, the next %g s too: %s", pause, error)
        except Exception:
            # The rows are still there, and the relay's.
            logger.exception("calls wait in the outbox for the relay")
        else:
            self._breaker.succeeded()

    def _publish(self, claims: Claims, ids: Sequence[int]) -> None:
        with claims.named(ids) as claim:
            dispatch(claims, claim, self._outlet, self._settings.outbox_max_attempts)


class _Together:
    """Rows of one transaction that leave together."""

    def __init__(self, written: float) -> None:
        self.written = written
        self.ids: list[int] = []


class _Departure:
    """Called after the commit. Rows of a savepoint that was rolled back are not there, and not found."""

    def __init__(self, path: FastPath, connection: Any, ids: Sequence[int], together: _Together) -> None:
        self.together = together
        self._path = path
        self._connection = connection
        self._ids = ids

    def __call__(self) -> None:
        """The first one sends for all; each for itself in a test that plays the commit."""
        ids = self._ids
        if not self._connection.in_atomic_block:
            ids, self.together.ids = self.together.ids, []
        if ids:
            self._path.leave(self._connection.alias, ids, self.together.written)


def _parts(ids: Sequence[int], size: int) -> Iterator[list[int]]:
    rest = iter(ids)
    while part := list(islice(rest, size)):
        yield part
