"""As many shards as there is work for, between a least and a most."""

from __future__ import annotations

from typing import Any

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.engine.supervisor import Supervisor

__all__ = ["Autoscaler"]

#: Seconds between looks at the backlog.
_EVERY = 1.0


class Autoscaler:
    """Doubles the shards at most, once a second, while messages wait and all shards are busy.

    Takes one away at a time once there has been less to do for ``keepalive`` seconds.
    """

    def __init__(
        self, supervisor: Supervisor, broker: Broker, most: int, least: int, keepalive: float
    ) -> None:
        self.max_concurrency = most
        self.min_concurrency = least
        self._supervisor = supervisor
        self._broker = broker
        self._keepalive = keepalive
        self._next = 0.0
        self._needed_at = 0.0
        self._waiting = 0

    def tick(self, now: float) -> None:
        """Grow or shrink, if it is time; ``now`` is monotonic."""
        if now < self._next:
            return
        self._next = now + _EVERY
        try:
            stats = self._broker.stats(self._supervisor.queues)
        except BrokerUnavailable:
            return  # nothing is known, so nothing changes; the supervisor reports it
        self._waiting = sum(queue.ready for queue in stats.values())
        self._scale(now)

    def update(self, max: int | None = None, min: int | None = None) -> tuple[int, int]:  # noqa: A002 - Celery's names
        """Set new bounds, return both; the shards are within them at once."""
        if max is not None:
            self.max_concurrency = max
        if min is not None:
            self.min_concurrency = min
        self._resize(self._supervisor.count)
        return self.max_concurrency, self.min_concurrency

    def info(self) -> dict[str, Any]:
        """Return the bounds, the present number of shards and how many messages wait."""
        return {
            "max": self.max_concurrency,
            "min": self.min_concurrency,
            "current": self._supervisor.count,
            "qty": self._waiting,
        }

    def _scale(self, now: float) -> None:
        count = self._supervisor.count
        busy = self._supervisor.busy
        if self._waiting and (busy >= count or self._waiting > count):
            self._needed_at = now
            self._resize(count + min(max(count, 1), self._waiting))
        elif busy >= count:
            self._needed_at = now
        elif now - self._needed_at > self._keepalive:
            self._resize(count - 1)

    def _resize(self, count: int) -> None:
        bounded = max(min(count, self.max_concurrency), self.min_concurrency)
        if bounded != self._supervisor.count:
            self._supervisor.resize(bounded)
