"""Messages from an outbox on their way to a broker of ours, many in one call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from celeriac.bridge.refusals import Item, Refusals
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.publisher import Publisher

__all__ = ["BrokerOutlet"]

#: Messages that every broker takes in one operation, all of them or none.
_MOST: Final = 1000


class BrokerOutlet:
    """Belongs to one thread, as its publisher does."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def publish(self, items: Sequence[Item], refusals: Refusals) -> None:
        """Send the messages by their queues; raise BrokerUnavailable if that cannot be done now."""
        for run in _runs(items):
            leaving = [item for item in run if refusals.may_leave(item)]
            for start in range(0, len(leaving), _MOST):
                self._send(leaving[start : start + _MOST], refusals)

    def _send(self, items: Sequence[Item], refusals: Refusals) -> None:
        reason = self._refused(items)
        if reason is None:
            return
        if len(items) == 1:
            refusals.add(items[0], reason)
            return
        for item in items:
            if refusals.may_leave(item):
                self._send([item], refusals)

    def _refused(self, items: Sequence[Item]) -> str | None:
        try:
            self._publisher.publish([item.outgoing.message for item in items])
        except BrokerUnavailable:
            raise
        except Exception as error:
            # Layers raise what they like; the message counts as refused, for this reason.
            return f"{type(error).__name__}: {error}"
        return None


def _runs(items: Sequence[Item]) -> list[list[Item]]:
    """Return the messages by queue; with ordering keys, only those together that follow each other."""
    if any(item.outgoing.ordering_key is not None for item in items):
        return [list(run) for _, run in groupby(items, _lane)]
    lanes: dict[tuple[str, int], list[Item]] = {}
    for item in items:
        lanes.setdefault(_lane(item), []).append(item)
    return list(lanes.values())


def _lane(item: Item) -> tuple[str, int]:
    return item.outgoing.message.queue, item.outgoing.message.priority
