"""A worker's own relay: a child process that ends with the worker, and is replaced when it dies."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from time import monotonic, sleep
from typing import Any, Final

from celery import bootsteps
from celery.utils.log import get_logger

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.django.relay_process import run_relay
from celeriac.engine.process import ChildProcess

__all__ = ["RelayStep"]

logger = get_logger("celeriac.outbox")

#: Seconds between two looks after the relay, and until a relay that has just died is replaced.
LOOK: Final = 1.0
#: Seconds that a relay may take to end.
PATIENCE: Final = 5.0


class RelayStep(bootsteps.StartStopStep):
    """Part of every worker of an app in a Django project, Celeriac's engine or Celery's own."""

    label = "Outbox relay"

    def __init__(self, parent: Any, **options: Any) -> None:
        self._process: ChildProcess | None = None
        self._looked_at = 0.0
        super().__init__(parent, **options)

    def include_if(self, parent: Any) -> bool:
        framework = getattr(parent.app, "framework", None)
        if framework is None or not framework.has_outbox:
            return False
        settings = read_settings(parent.app)
        # The kernel ends a child with the thread that forked it.
        in_main = threading.current_thread() is threading.main_thread()
        return settings.outbox_enabled and settings.outbox_relay_in_worker and in_main

    def create(self, parent: Any) -> Any:
        self._app = parent.app
        parent.relay = self
        return None

    def start(self, parent: Any) -> None:
        self._launch()
        timer = getattr(parent, "timer", None)
        if timer is not None:  # Celery's own worker; the engine calls tick by itself
            timer.call_repeatedly(LOOK, self.tick)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """The relay has ended; what it was doing is done, or as it was."""
        process, self._process = self._process, None
        if process is None or not process.is_alive():
            return
        os.kill(process.pid, signal.SIGTERM)
        deadline = monotonic() + PATIENCE
        while process.is_alive():
            if monotonic() > deadline:
                os.kill(process.pid, signal.SIGKILL)
            sleep(0.01)

    terminate = stop

    def tick(self) -> None:
        """Replace the relay if it has died."""
        now = monotonic()
        if self._process is None or now < self._looked_at + LOOK:
            return
        self._looked_at = now
        if not self._process.is_alive():
            logger.error("the outbox relay has died (exit code %s): starting another", self._process.exitcode)
            self._launch()

    def _launch(self) -> None:
        self._looked_at = monotonic()
        self._process = ChildProcess("OutboxRelay", partial(run_relay, self._app))
        logger.info("the outbox is relayed by process %d", self._process.pid)
