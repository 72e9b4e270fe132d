"""What remote control's handlers expect of a worker's consumer, answered by the engine."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from celery.worker.pidbox import Pidbox

from celeriac.bridge.control import engine_handlers

__all__ = ["EngineConsumer"]


class EngineConsumer:
    """Stands where Celery has its Consumer: ``worker.consumer`` and the handlers' ``state.consumer``."""

    gossip = None
    timer = None

    def __init__(self, worker: Any) -> None:
        self.controller = worker
        self.app = worker.app
        self.hostname = worker.hostname
        self.event_dispatcher = None
        self.connection: Any = None
        self.pool = worker.pool
        self.task_consumer = SimpleNamespace(
            queues=list(worker.app.amqp.queues.consume_from.values()), cancel=lambda: None
        )
        self.pidbox = Pidbox(self)
        self.pidbox.node.handlers = engine_handlers()

    def start(self) -> None:
        """Listen to remote control from now on."""
        self.connection = self.app.connection_for_read()
        self.pidbox.start(self)

    def poll(self, timeout: float) -> None:
        """Answer remote control for up to ``timeout`` seconds."""
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=timeout)

    def stop(self) -> None:
        """Listen no more."""
        if self.connection is not None:
            self.pidbox.shutdown(self)
            self.connection.release()
            self.connection = None

    def on_decode_error(self, message: Any, _error: Exception) -> None:
        """Drop a control message that cannot be read."""
        message.ack()
