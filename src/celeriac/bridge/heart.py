"""A worker's own events: online, heartbeat, offline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery.signals import heartbeat_sent
from celery.utils.log import get_logger
from celery.utils.sysinfo import load_average
from celery.worker.state import SOFTWARE_INFO

__all__ = ["Heart"]

logger = get_logger("celeriac.events")

_EVERY = 2.0


class Heart:
    """Sends Celery's worker events over a connection of its own; losing it stops nothing."""

    def __init__(
        self,
        app: Any,
        hostname: str,
        *,
        task_events: bool,
        beats: bool,
        interval: float | None,
        count: Callable[[], tuple[int, int]],
    ) -> None:
        """``count`` returns how many tasks run and how many have been started; ``interval`` in seconds."""
        self._beats = beats
        self._interval = float(interval or _EVERY)
        self._count = count
        self._next = 0.0
        self._failing = False
        #: Celery's dispatcher; remote control turns the group of task events on and off in it.
        self.dispatcher = app.events.Dispatcher(
            app.connection_for_write(),
            hostname=hostname,
            groups=["worker", "task"] if task_events else ["worker"],
            buffer_while_offline=False,
        )

    @property
    def task_events(self) -> bool:
        """Whether events of tasks are wanted."""
        return "task" in self.dispatcher.groups

    def start(self) -> None:
        """Tell that the worker is there."""
        if self._beats:
            self._next = time.monotonic() + self._interval
            self._send("worker-online")

    def tick(self) -> None:
        """Send a heartbeat if it is time."""
        now = time.monotonic()
        if self._beats and now >= self._next:
            self._next = now + self._interval
            self._send("worker-heartbeat")

    def stop(self) -> None:
        """Tell that the worker goes, and close the connection."""
        if self._beats:
            self._send("worker-offline")
        self.dispatcher.close()
        self.dispatcher.connection.release()

    def _send(self, kind: str) -> None:
        if heartbeat_sent.receivers:
            heartbeat_sent.send(sender=self)
        active, processed = self._count()
        try:
            self.dispatcher.send(
                kind,
                freq=self._interval,
                active=active,
                processed=processed,
                loadavg=load_average(),
                **SOFTWARE_INFO,
            )
        except Exception as error:
            # The next heartbeat tells as much as the one that could not be sent.
            if not self._failing:
                logger.warning("Heartbeats cannot be sent: %s", error)
            self._failing = True
        else:
            self._failing = False
