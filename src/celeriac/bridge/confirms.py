"""Publishing with confirms on a channel of RabbitMQ: a whole window of messages, then all its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from amqp.exceptions import ChannelError

from celeriac.bridge.refusals import Item, Refusals
from celeriac.core.errors import MalformedMessage
from celeriac.core.outbox import Outgoing

__all__ = ["ConfirmingChannel"]

Send = Callable[[Any, Outgoing], None]


class _Window:
    """Messages that have been sent, until the broker has answered for each of them."""

    def __init__(self, first: int) -> None:
        self._next = first
        self.sent: dict[int, Item] = {}
        self.confirmed: set[int] = set()
        self.refused: list[tuple[Item, str]] = []
        self._returned: dict[str, str] = {}

    def add(self, item: Item) -> None:
        self.sent[self._next] = item
        self._next += 1

    def ack(self, tag: int, multiple: bool) -> None:
        for item in self._answered(tag, multiple):
            returned = self._returned.pop(item.outgoing.id, None)
            if returned is None:
                self.confirmed.add(item.place)
            else:
                self.refused.append((item, returned))

    def nack(self, tag: int, multiple: bool) -> None:
        for item in self._answered(tag, multiple):
            self.refused.append((item, "the broker does not take it now (nack)"))

    def returned(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        """An answer to a message that reaches no queue; its confirmation follows."""
        headers = message.properties.get("application_headers") or {}
        where = f"{exchange}/{routing_key}" if exchange else routing_key
        self._returned[str(headers.get("id"))] = f"it reaches no queue at {where}: {error.reply_text}"

    def _answered(self, tag: int, multiple: bool) -> Iterator[Item]:
        tags = [one for one in self.sent if one <= tag] if multiple else [tag] if tag in self.sent else []
        for one in tags:
            yield self.sent.pop(one)


class ConfirmingChannel:
    """A channel on which the broker answers for each message."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._published = 0
        channel.confirm_select()

    def publish(
        self, items: Sequence[Item], send: Send, refusals: Refusals, patience: float
    ) -> tuple[set[int], str | None]:
        """Send the messages; return the places of those confirmed, and why the channel broke, if it did.

        A message waits for the answers to an earlier one with the same ordering key. Raises
        TimeoutError if an answer takes longer than ``patience`` seconds.
        """
        confirmed: set[int] = set()
        for wave in _waves(items):
            window = self._new_window()
            try:
                self._send(wave, window, send, refusals)
                while window.sent:
                    self.channel.connection.drain_events(timeout=patience)
            except ChannelError as error:
                return confirmed | window.confirmed, f"{type(error).__name__}: {error}"
            confirmed |= window.confirmed
            for item, reason in window.refused:
                refusals.add(item, reason)
        return confirmed, None

    def _new_window(self) -> _Window:
        window = _Window(self._published + 1)
        events = self.channel.events
        events["basic_ack"], events["basic_nack"] = {window.ack}, {window.nack}
        events["basic_return"] = {window.returned}
        return window

    def _send(self, wave: Sequence[Item], window: _Window, send: Send, refusals: Refusals) -> None:
        for item in wave:
            if not refusals.may_leave(item):
                continue
            try:
                send(self.channel, item.outgoing)
            except MalformedMessage as error:
                refusals.add(item, str(error))
            else:
                self._published += 1
                window.add(item)


def _waves(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield the messages in parts without two of the same ordering key."""
    wave: list[Item] = []
    keys: set[str] = set()
    for item in items:
        key = item.outgoing.ordering_key
        if key is not None and key in keys:
            yield wave
            wave, keys = [], set()
        if key is not None:
            keys.add(key)
        wave.append(item)
    if wave:
        yield wave
