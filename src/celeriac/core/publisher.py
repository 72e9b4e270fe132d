"""Where published messages go; replacing it is how an outbox takes part in a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celeriac.core.broker import Broker
from celeriac.core.layer import Layer, wrap_publish
from celeriac.core.message import Message

__all__ = ["BrokerPublisher", "Publisher"]


class Publisher(Protocol):
    """Accepts messages for delivery."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Accept all messages; once this returns they are kept."""
        ...


class BrokerPublisher:
    """Sends each batch through the layers to one broker."""

    def __init__(self, broker: Broker, layers: Sequence[Layer] = ()) -> None:
        self.broker = broker
        self._send = wrap_publish(layers, broker.send)

    def publish(self, messages: Sequence[Message]) -> None:
        self._send(messages)
