"""What is known of queues: how long they are, how old, and how fast they fill and empty."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf

import msgspec

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.message import Message
from celeriac.core.watch import Watchable
from celeriac.observe.report import WorkerReport

__all__ = ["QueueNow", "QueueWatch"]

#: Seconds over which rates are taken, and the least that they need.
_WINDOW, _LEAST = 120.0, 1.0
#: Seconds after which messages that vanished without having been run are no longer waited for.
_VANISHED = 60.0


class QueueNow(msgspec.Struct, kw_only=True):
    """One queue at one moment."""

    name: str
    stats: QueueStats
    #: Seconds since the oldest waiting message was published; 0 if none waits, None if it does not say.
    oldest_seconds: float | None = None
    #: Messages that have come since the watch began, and that Celeriac's workers have run to their end.
    arrived: int = 0
    departed: int = 0
    #: Seconds in which all that waits will have been run at the present rate; None: not known yet.
    drain_seconds: float | None = None
    #: Workers that consume from it, and how many deliveries they can run at a time.
    workers: int = 0
    slots: int = 0


class _Flow:
    """What comes into one queue and leaves it."""

    def __init__(self) -> None:
        self.arrived = 0
        self.departed = 0
        self._ended: dict[str, int] = {}
        self._offset: int | None = None
        self._behind_since: float | None = None
        self._samples: deque[tuple[float, int, int]] = deque()

    def learn(self, now: float, present: int, ended: Mapping[str, int]) -> None:
        """So many messages are there and not dead, and so many has each worker ended in its life."""
        first = self._offset is None
        # What has ended a moment ago may still be there, to be settled: it counts from the next time on.
        balance = present + self.departed
        for node, count in ended.items():
            self.departed += 0 if first else max(count - self._ended.get(node, 0), 0)
        self._ended = {**self._ended, **ended}
        if self._offset is None:
            self._offset = balance
        self._rise(now, balance - self._offset)
        self._samples.append((now, self.departed, present))
        while now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()

    def drain_seconds(self, ready: int) -> float | None:
        """Return in how many seconds so many messages will have been run; None if nothing is known yet."""
        if not ready:
            return 0.0
        (since, departed, present), (now, departed_now, present_now) = self._samples[0], self._samples[-1]
        if now - since < _LEAST:
            return None
        ended = max(departed_now - departed, present - present_now)  # the latter is what others have run
        return ready * (now - since) / ended if ended > 0 else inf

    def _rise(self, now: float, arrived: int) -> None:
        """Workers tell later than the broker what has ended; what was purged they never tell."""
        if arrived >= self.arrived:
            self.arrived, self._behind_since = arrived, None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since > _VANISHED and self._offset is not None:
            self._offset -= self.arrived - arrived
            self._behind_since = None


class QueueWatch:
    """Asks one broker, and nobody else."""

    def __init__(self, broker: Broker, sent_at: Callable[[Message], float | None]) -> None:
        """``sent_at`` returns the Unix seconds at which a message was published, if it says."""
        self._broker = broker
        self._sent_at = sent_at
        self._flows: dict[str, _Flow] = {}
        #: Since when each queue's next message has been the same.
        self._heads: dict[tuple[str, int], tuple[int, float]] = {}

    def look(self, queues: Sequence[str], workers: Mapping[str, WorkerReport], now: float) -> list[QueueNow]:
        """Return what is known of these queues now (Unix seconds); raise as the broker does."""
        stats = self._broker.stats(queues)
        ages = self._ages(queues, now)
        found = []
        for name in dict.fromkeys(queues):
            numbers = stats[name]
            flow = self._flows.setdefault(name, _Flow())
            flow.learn(now, numbers.ready + numbers.leased + numbers.delayed, _ended(workers, name))
            consumers = [report for report in workers.values() if name in report.queues]
            found.append(
                QueueNow(
                    name=name,
                    stats=numbers,
                    oldest_seconds=ages.get(name) if numbers.ready else 0.0,
                    arrived=flow.arrived,
                    departed=flow.departed,
                    drain_seconds=flow.drain_seconds(numbers.ready),
                    workers=len(consumers),
                    slots=sum(report.slots for report in consumers),
                )
            )
        return found

    def _ages(self, queues: Sequence[str], now: float) -> dict[str, float]:
        if not isinstance(self._broker, Watchable):
            return {}
        ages: dict[str, float] = {}
        heads: dict[tuple[str, int], tuple[int, float]] = {}
        for message in self._broker.oldest(queues):
            place, mark = (message.queue, message.priority), hash(message.payload)
            known, since = self._heads.get(place, (None, now))
            heads[place] = (mark, since if known == mark else now)
            sent = self._sent_at(message)
            # One that does not say when it was published has been there at least since it was first seen.
            age = now - (heads[place][1] if sent is None else sent)
            ages[message.queue] = max(ages.get(message.queue, 0.0), age)
        self._heads = heads
        return ages


def _ended(workers: Mapping[str, WorkerReport], queue: str) -> dict[str, int]:
    """Return how many deliveries from the queue each worker has ended, those included that are gone."""
    return {
        node: sum(sum(counts.ended) for (name, _), counts in report.counts.tasks.items() if name == queue)
        for node, report in workers.items()
    }
