"""In which order a shard asks for its queues, so that each gets its share. Pure.

A broker serves the queues of a claim strictly in the order given, so a full queue in front gets the
whole batch. What is fair is therefore not whose turn it is, but how many messages each has got:
this is start-time fair queueing (Goyal, Vin and Cheng, 1996) with a claim's messages of one queue
as its packet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from celeriac.core.lease import Lease
from celeriac.core.settings import Settings

__all__ = ["AsGiven", "FairShares", "QueueOrder", "queue_order"]


class QueueOrder(Protocol):
    """Says in which order to ask, and learns what came of it."""

    def next(self) -> Sequence[str]:
        """Return the queues in the order in which to ask for them now."""
        ...

    def claimed(self, leases: Sequence[Lease]) -> None:
        """Take into account what the latest claim brought."""
        ...


class AsGiven:
    """Strictly the order given: a queue is served only while those before it are empty."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = tuple(queues)

    def next(self) -> Sequence[str]:
        return self._queues

    def claimed(self, leases: Sequence[Lease]) -> None:
        """Nothing to learn."""


class FairShares:
    """Messages in the ratio of the weights, as long as there are any; nobody waits for an empty queue.

    Between two queues that both have messages waiting, what they got, divided by their weights,
    differs by no more than a batch of each. A queue that was empty gets no credit for it.
    """

    def __init__(self, queues: Sequence[str], weights: Mapping[str, float]) -> None:
        """A queue without a weight weighs 1."""
        self._weights = {queue: weights.get(queue, 1.0) for queue in queues}
        #: How much each queue has got, divided by its weight.
        self._got = dict.fromkeys(self._weights, 0.0)
        #: How much those that have messages have got; who begins now begins here.
        self._level = 0.0

    def next(self) -> Sequence[str]:
        return sorted(self._got, key=self._turn)

    def claimed(self, leases: Sequence[Lease]) -> None:
        counts = Counter(lease.message.queue for lease in leases)
        level = self._level
        for queue, count in counts.items():
            start = max(self._got[queue], self._level)
            self._got[queue] = start + count / self._weights[queue]
            level = max(level, start)
        self._level = level

    def _turn(self, queue: str) -> tuple[float, float]:
        got = self._got[queue]
        return max(got, self._level), got


def queue_order(queues: Sequence[str], settings: Settings) -> QueueOrder:
    """Return the order that the settings ask for; with a single queue there is but one."""
    if len(queues) < 2 or settings.engine_queue_order == "ordered":
        return AsGiven(queues)
    return FairShares(queues, settings.engine_queue_weights)
