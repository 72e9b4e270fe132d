"""What a transaction has kept leaves right after its commit, sent by the process that has committed it.

Where the database can skip locked rows, a thread of the process sends it on a connection of its own, so that
the request waits for nothing. SQLite has one writer at a time, which should not have to wait for that thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from time import monotonic
from typing import Any, Final

from django.core import mail
from django.db import Error, connections
from django.utils import timezone

from celeriac.core.errors import BrokerUnavailable
from celeriac.core.outbox import Outlet
from celeriac.core.settings import Settings
from celeriac.django.breaker import Breaker
from celeriac.django.claims import Claims, moment
from celeriac.django.dispatch import dispatch
from celeriac.django.sender import Sender
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
        self._sender = Sender(self._send_apart, settings.outbox_fast_seconds)

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

    def leave(self, database: str, ids: Sequence[int], written: float, *, apart: bool) -> None:
        """Publish the rows, in the order of their ids, while there is time; never raise.

        ``apart``: the transaction is over, so that another thread can see them.
        """
        if self._breaker.is_open:
            return
        if apart and self._may_be_apart(database):
            self._sender.take(database, ids)
        elif self._tables.on(database).skips_locked or monotonic() < written + MARGIN:
            self._send(database, ids)
        # and else the relay may have them already

    def finish(self, seconds: float) -> bool:
        """Wait until what this process has committed is published, or left; return whether that is so."""
        return self._sender.finish(seconds)

    def _may_be_apart(self, database: str) -> bool:
        """Tests find at the broker what they have just committed, and delete their database at the end."""
        tested = hasattr(mail, "outbox")  # as long as Django's test environment is set up
        return self._settings.outbox_fast_thread and self._tables.on(database).skips_locked and not tested

    def _send_apart(self, database: str, ids: Sequence[int]) -> None:
        if not self._breaker.is_open and not self._send(database, ids):
            connections[database].close()

    def _send(self, database: str, ids: Sequence[int]) -> bool:
        """Return whether all went well; what is not published then is the relay's."""
        until = monotonic() + self._settings.outbox_fast_seconds
        claims = Claims(database, self._tables.on(database))
        try:
            for part in _parts(ids, self._settings.outbox_batch_max):
                if monotonic() > until:
                    return True
                self._publish(claims, part)
        except (BrokerUnavailable, Error) as error:
            pause = self._breaker.failed()
            logger.warning("calls wait in the outbox for the relay, the next %g s too: %s", pause, error)
        except Exception:
            # The rows are still there.
            logger.exception("calls wait in the outbox for the relay")
        else:
            self._breaker.succeeded()
            return True
        return False

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
        apart = not self._connection.in_atomic_block
        if apart:
            ids, self.together.ids = self.together.ids, []
        if ids:
            self._path.leave(self._connection.alias, ids, self.together.written, apart=apart)


def _parts(ids: Sequence[int], size: int) -> Iterator[list[int]]:
    rest = iter(ids)
    while part := list(islice(rest, size)):
        yield part
