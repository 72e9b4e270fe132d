"""Which lists kombu keeps a queue's messages in: one for each step of priority."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import NamedTuple

from celeriac.core.message import Message

__all__ = ["Lists", "Source"]

_ORDERS_KEPT = 256


class Source(NamedTuple):
    """One of kombu's lists: a queue at one priority step."""

    key: str
    queue: str
    priority: int


class Lists:
    """Names the lists as ``kombu.transport.redis`` does: step 0 has the queue's own name."""

    def __init__(self, prefix: str, steps: Sequence[int], separator: str) -> None:
        """``prefix`` comes before all keys, ``separator`` between a queue's name and a step."""
        self._prefix = prefix
        self._steps = sorted(steps)
        self._separator = separator
        self._known: dict[tuple[str, ...], list[Source]] = {}

    def of_message(self, message: Message) -> str:
        """Return the key of the list that the message belongs in."""
        return self._key(message.queue, self._steps[bisect(self._steps, message.priority) - 1])

    def of_queues(self, queues: Sequence[str]) -> list[Source]:
        """Return the lists of all queues, in the order in which kombu serves them."""
        order = tuple(queues)
        if order not in self._known:
            if len(self._known) >= _ORDERS_KEPT:
                self._known.clear()  # a shard asks for its queues in ever other orders
            self._known[order] = [
                Source(self._key(queue, step), queue, step) for step in self._steps for queue in queues
            ]
        return self._known[order]

    def named(self, key: str) -> Source:
        """Return the list with this key."""
        queue, _, step = key.removeprefix(self._prefix).partition(self._separator)
        return Source(key, queue, int(step or 0))

    def _key(self, queue: str, step: int) -> str:
        return f"{self._prefix}{queue}{self._separator}{step}" if step else f"{self._prefix}{queue}"
