"""The time during which the broker is away: how long to wait before each try, and what to tell of it."""

from __future__ import annotations

import time

from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import BrokerLost, BrokerRegained, Events

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "Outage"]

#: Seconds between tries, at first and at most. Whoever holds leases must be back before others take
#: them, so that the longest is short.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
#: Seconds after which a long outage is told of again.
_TELL_EVERY = 30.0


class Outage:
    """Tells of its begin and end, and now and then while it lasts."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._pause = FIRST_PAUSE
        self._told = 0.0
        self._tell_at = 0.0

    def fails(self, error: BrokerUnavailable) -> float:
        """A call has failed; return the seconds to wait before the next try."""
        pause, now = self._pause, time.monotonic()
        if pause != self._told or now >= self._tell_at:
            self._told, self._tell_at = pause, now + _TELL_EVERY
            self._events.emit(BrokerLost(error=str(error), retry_in=pause))
        self._pause = min(pause * 2, LONGEST_PAUSE)
        return pause

    def works(self) -> None:
        """A call has come through."""
        if self._pause > FIRST_PAUSE:
            self._pause, self._told = FIRST_PAUSE, 0.0
            self._events.emit(BrokerRegained())
