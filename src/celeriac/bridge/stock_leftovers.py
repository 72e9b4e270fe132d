"""What Celery's own workers had taken when they died goes back to its queue, as they would do it."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["StockLeftovers"]

#: Seconds between two looks, as in kombu's event loop.
_EVERY = 10.0


class StockLeftovers:
    """Restores what has been unacknowledged in Redis for longer than ``visibility_timeout``.

    A fleet that has moved to Celeriac may have no stock worker left that would.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def tick(self, channel: Any) -> None:
        """Look, if it is time; raise what the connection raises."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        if hasattr(channel, "visibility_timeout"):  # other transports keep nothing there
            channel.qos.restore_visible(num=channel.unacked_restore_limit, interval=1)
