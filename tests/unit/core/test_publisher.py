from __future__ import annotations

from collections.abc import Sequence

import pytest

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.layer import Layer, Publish
from celeriac.core.message import Message
from celeriac.core.publisher import BrokerPublisher


class To(Layer):
    """Sends every message to the queue named after those it has been through."""

    def __init__(self, name: str) -> None:
        self.name = name

    def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
        proceed([Message(queue=m.queue + self.name, payload=m.payload) for m in messages])


def waiting(broker: MemoryBroker, queue: str) -> list[bytes]:
    claimed = broker.claim([queue], 10, owner="test", lease_for=60)
    return [lease.message.payload for lease in claimed.leases]


def messages(queue: str) -> list[Message]:
    return [Message(queue=queue, payload=payload) for payload in (b"1", b"2")]


def test_published_messages_wait_in_the_broker_in_order() -> None:
    broker = MemoryBroker()
    BrokerPublisher(broker).publish(messages("shop"))
    assert waiting(broker, "shop") == [b"1", b"2"]


def test_the_first_layer_changes_them_first() -> None:
    broker = MemoryBroker()
    BrokerPublisher(broker, [To("-a"), To("-b")]).publish(messages("shop"))
    assert broker.stats(["shop", "shop-a", "shop-a-b"])["shop-a-b"].ready == 2
    assert waiting(broker, "shop") == []
    assert waiting(broker, "shop-a-b") == [b"1", b"2"]


def test_what_a_layer_raises_reaches_the_caller_and_nothing_is_sent() -> None:
    class Refuse(Layer):
        def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
            raise PermissionError("not signed")

    broker = MemoryBroker()
    with pytest.raises(PermissionError, match="not signed"):
        BrokerPublisher(broker, [Refuse()]).publish(messages("shop"))
    assert broker.stats(["shop"])["shop"].ready == 0
