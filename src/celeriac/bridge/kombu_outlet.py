"""Messages from an outbox on their way to any broker that kombu knows, as the bytes that they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from celery.utils.log import get_logger

from celeriac.bridge.confirms import ConfirmingChannel
from celeriac.bridge.refusals import Item, Refusals
from celeriac.bridge.wire import unwrap
from celeriac.core.errors import BrokerUnavailable, MalformedMessage
from celeriac.core.outbox import Outgoing

__all__ = ["KombuOutlet"]

logger = get_logger("celeriac.outbox")

#: What an envelope's properties say about the envelope and not about the message.
_ENVELOPE: Final = frozenset({"body_encoding", "delivery_info", "delivery_tag", "priority"})
#: Seconds that a broker may take to connect, and to confirm what it was sent.
_PATIENCE: Final = 10.0


class KombuOutlet:
    """Belongs to one thread; connects when something is published."""

    def __init__(self, app: Any, patience: float | None = None) -> None:
        self._app = app
        self._patience = patience or _PATIENCE
        self._connection: Any = None
        self._channel: Any = None
        self._confirming: ConfirmingChannel | None = None
        self._declared: set[tuple[str, str]] = set()
        self._pid = 0

    def publish(self, items: Sequence[Item], refusals: Refusals) -> None:
        """Send the messages; raise BrokerUnavailable if that cannot be done now."""
        try:
            self._open()
            if self._confirming is not None:
                self._publish_confirmed(self._confirming, items, refusals)
            else:
                self._publish_one_by_one(items, refusals)
        except self._away() as error:
            self.close()
            raise BrokerUnavailable(f"the broker cannot be reached: {error}") from error

    def close(self) -> None:
        """Let go of the connection; the next message makes a new one."""
        connection, self._connection = self._connection, None
        self._channel = self._confirming = None
        if connection is not None and self._pid == os.getpid():
            connection.collect()

    def _publish_confirmed(
        self, channel: ConfirmingChannel, items: Sequence[Item], refusals: Refusals
    ) -> None:
        """Send many at once; if that breaks the channel, what is unconfirmed is sent one by one."""
        confirmed, broken = channel.publish(items, self._send, refusals, self._patience)
        if broken is None:
            return
        for item in items:
            if item.place in confirmed or item.place in refusals.reasons or not refusals.may_leave(item):
                continue
            self._open(anew=broken is not None)
            if self._confirming is not None:
                broken = self._confirming.publish([item], self._send, refusals, self._patience)[1]
            if broken is not None:
                refusals.add(item, broken)
        if broken is not None:
            self._channel = None

    def _publish_one_by_one(self, items: Sequence[Item], refusals: Refusals) -> None:
        away = self._away()
        for item in items:
            if not refusals.may_leave(item):
                continue
            try:
                self._send(self._open(), item.outgoing)
            except away:
                raise
            except Exception as error:
                # Transports raise what they like; the message counts as refused, for this reason.
                refusals.add(item, f"{type(error).__name__}: {error}")
                self.close()

    def _send(self, channel: Any, outgoing: Outgoing) -> None:
        """Hand one message to the channel; whether it has arrived is another question."""
        body, envelope = _unwrapped(outgoing)
        properties = {key: value for key, value in envelope.properties.items() if key not in _ENVELOPE}
        message = channel.prepare_message(
            body,
            priority=outgoing.message.priority,
            content_type=envelope.content_type,
            content_encoding=envelope.content_encoding,
            headers=envelope.headers,
            properties=properties,
        )
        mandatory = self._declare(channel, outgoing)
        channel.basic_publish(
            message, exchange=outgoing.exchange, routing_key=outgoing.message.queue, mandatory=mandatory
        )

    def _declare(self, channel: Any, outgoing: Outgoing) -> bool:
        """The queue is there, or all that are bound to the exchange; return whether one must be reached."""
        queues = self._app.amqp.queues
        if not outgoing.exchange:
            bound = [queues[outgoing.message.queue]]
        else:
            named = (queue for queue in queues.values() if queue.exchange)
            bound = [queue for queue in named if queue.exchange.name == outgoing.exchange]
        for queue in bound:
            if (queue.name, outgoing.exchange) not in self._declared:
                self._declared.add((queue.name, outgoing.exchange))
                queue(channel).declare()
        return not any(queue.exchange and queue.exchange.type == "fanout" for queue in bound)

    def _open(self, *, anew: bool = False) -> Any:
        if self._connection is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._channel = None
            confirms = "confirm_publish" in (self._app.conf.broker_transport_options or {})
            self._connection = self._app.connection_for_write(
                connect_timeout=self._patience,
                # Or py-amqp would take the answers that a window waits for.
                transport_options={"confirm_publish": False} if confirms else {},
            )
            self._connection.connect()
        if self._channel is None or anew:
            self._declared.clear()
            self._channel = self._connection.channel()
            self._confirming = (
                ConfirmingChannel(self._channel) if hasattr(self._channel, "confirm_select") else None
            )
        return self._channel

    def _away(self) -> tuple[type[BaseException], ...]:
        errors = () if self._connection is None else self._connection.connection_errors
        return (*errors, OSError)


def _unwrapped(outgoing: Outgoing) -> tuple[Any, Any]:
    try:
        return unwrap(outgoing.message.payload)
    except (ValueError, TypeError, AttributeError) as error:
        raise MalformedMessage(f"the stored message cannot be read: {error}") from None
