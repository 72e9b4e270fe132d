"""A producer that sends nothing: what Celery publishes with it goes into the outbox."""

from __future__ import annotations

from typing import Any

from kombu.messaging import Producer

from celeriac.bridge.outgoing import Departures
from celeriac.bridge.wire import wrap
from celeriac.core.message import Message

__all__ = ["CapturingProducer"]


class CapturingProducer(Producer):
    """Renders messages as kombu's own does, for any transport, and never connects."""

    def __init__(self, app: Any, departures: Departures, database: str) -> None:
        self._app = app
        self._departures = departures
        self._database = database
        super().__init__(None, auto_declare=False)
        self.__connection__ = app.connection_for_write()

    def publish(self, *args: Any, **options: Any) -> Any:
        options["retry"] = False  # there is nothing to fail
        return super().publish(*args, **options)

    def _publish(
        self,
        body: Any,
        priority: Any,
        content_type: str,
        content_encoding: str,
        headers: dict[str, Any],
        properties: dict[str, Any],
        routing_key: str,
        mandatory: bool,  # noqa: ARG002 - kombu's signature
        immediate: bool,  # noqa: ARG002
        exchange: str,
        *_: Any,
    ) -> None:
        payload = wrap(
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            headers=headers,
            properties={**properties, "priority": priority or 0},
            routing_key=routing_key,
            exchange=exchange,
        )
        message = Message(
            queue=routing_key,
            payload=payload,
            priority=max(0, min(9, int(priority or 0))),
            due=self._app.due_time(headers.get("eta")),
        )
        self._departures.keep(self._database, [message], exchange)
