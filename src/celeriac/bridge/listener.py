"""Listens to Celery's events in a thread, and asks nobody for any."""

from __future__ import annotations

import threading
import time
from typing import Any

from celery.utils.log import get_logger

from celeriac.observe.event_counts import EventCounts

__all__ = ["EventListener"]

logger = get_logger("celeriac.metrics")

#: Seconds between two tries to connect.
_AGAIN = 2.0


class EventListener:
    """Hands every event to the counts until the process ends."""

    def __init__(self, app: Any, counts: EventCounts) -> None:
        self._app = app
        self._counts = counts
        self._failing = False
        self._thread = threading.Thread(target=self._listen, name="Events", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                with self._app.connection_for_read() as connection:
                    receiver = self._app.events.Receiver(connection, handlers={"*": self._heard})
                    receiver.capture(limit=None, timeout=None, wakeup=False)
            except Exception as error:
                # Nothing is counted meanwhile; what was counted before stays.
                if not self._failing:
                    logger.warning("Events cannot be listened to: %s; trying again", error)
                self._failing = True
                time.sleep(_AGAIN)

    def _heard(self, event: dict[str, Any]) -> None:
        self._failing = False
        self._counts.hear(event, time.time())
