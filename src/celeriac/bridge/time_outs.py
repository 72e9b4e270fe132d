"""When a worker gives up a connection on which nobody answers: in time to renew its leases on another."""

from __future__ import annotations

import time
from typing import Any

from celeriac.core.settings import Settings

__all__ = ["PULSE", "Pulse", "time_outs"]

_LEAST = 0.5
#: Seconds between two signs of life on a connection that otherwise only listens, and how many may be missed.
PULSE = 5.0
MISSED = 1


def time_outs(settings: Settings) -> dict[str, float]:
    """Return kombu's transport options for a worker's connections, in seconds; the app's own go first.

    Leases are renewed every third of their time. A connection that is found dead a third later leaves
    as much for the renewal on the next one.
    """
    patience = max(settings.engine_lease_seconds / 3, _LEAST)
    return {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "health_check_interval": PULSE,
    }


class Pulse:
    """Lets kombu's Redis transport ask its subscriptions whether anybody is there.

    A connection that only listens never notices that nobody will ever speak again. In Celery an event
    loop asks it now and then.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def take(self, connection: Any) -> None:
        """Ask, if it is time; raise ConnectionError if nobody has answered before."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PULSE
        for channel in getattr(getattr(connection.transport, "cycle", None), "_channels", ()):
            subscription = vars(channel).get("subclient")
            if subscription is None or subscription.connection is None:
                continue
            if subscription.health_check_response_counter > MISSED:
                raise ConnectionError("nobody answers on the other end")
            subscription.check_health()
