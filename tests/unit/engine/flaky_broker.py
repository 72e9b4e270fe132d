"""A broker that is sometimes out of reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from celeriac.core.broker import Broker, Features, Promoted, QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped, Scheduled
from celeriac.core.message import Message

__all__ = ["FlakyBroker"]


class FlakyBroker:
    """Passes everything on to a real broker, except while it is out of reach.

    ``inner`` stays within a test's reach. What the caller asks for is written down in ``calls``.
    """

    def __init__(self, inner: Broker, features: Features | None = None) -> None:
        self.inner = inner
        self.features = features or inner.features
        self.calls: list[str] = []
        #: Out of reach for everything.
        self.away = False
        #: By verb: how many of its next calls reach the broker, but their answers are lost.
        self.mute: dict[str, int] = {}
        #: By verb: how many of its calls after these do not reach the broker.
        self.refuse: dict[str, int] = {}

    @contextmanager
    def _reaching(self, verb: str) -> Iterator[None]:
        self.calls.append(verb)
        muted = not self.away and self._counts(self.mute, verb)
        if self.away or (not muted and self._counts(self.refuse, verb)):
            raise BrokerUnavailable(f"{verb} did not reach the broker")
        yield
        if muted:
            raise BrokerUnavailable(f"the answer to {verb} was lost")

    @staticmethod
    def _counts(left: dict[str, int], verb: str) -> bool:
        if not left.get(verb):
            return False
        left[verb] -= 1
        return True

    def send(self, messages: Sequence[Message]) -> None:
        with self._reaching("send"):
            self.inner.send(messages)

    def claim(
        self, queues: Sequence[str], n: int, *, owner: str, lease_for: float, ack: Sequence[Lease] = ()
    ) -> Claimed:
        with self._reaching("claim"):
            return self.inner.claim(queues, n, owner=owner, lease_for=lease_for, ack=ack)

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        with self._reaching("wait"):
            self.inner.wait(queues, timeout)

    def renew(self, owners: Iterable[str], lease_for: float) -> None:
        with self._reaching("renew"):
            self.inner.renew(owners, lease_for)

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        with self._reaching("ack"):
            return self.inner.ack(leases)

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        with self._reaching("release"):
            return self.inner.release(leases)

    def delay(self, leases: Sequence[tuple[Lease, float]]) -> Sequence[Lease]:
        with self._reaching("delay"):
            return self.inner.delay(leases)

    def bury(self, leases: Sequence[tuple[Lease, str]]) -> Sequence[Lease]:
        with self._reaching("bury"):
            return self.inner.bury(leases)

    def promote_due(self, now: float | None = None, limit: int = 1000) -> Promoted:
        with self._reaching("promote_due"):
            return self.inner.promote_due(now, limit)

    def reap(self, now: float | None = None, *, max_deliveries: int) -> Reaped:
        with self._reaching("reap"):
            return self.inner.reap(now, max_deliveries=max_deliveries)

    def evict(self, eviction: Eviction, *, max_deliveries: int) -> Reaped:
        with self._reaching("evict"):
            return self.inner.evict(eviction, max_deliveries=max_deliveries)

    def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        with self._reaching("stats"):
            return self.inner.stats(queues)

    def scheduled(self, queues: Sequence[str], offset: int = 0, limit: int = 100) -> Sequence[Scheduled]:
        with self._reaching("scheduled"):
            return self.inner.scheduled(queues, offset, limit)

    def dead_letters(self, offset: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
        with self._reaching("dead_letters"):
            return self.inner.dead_letters(offset, limit)

    def retry_dead(self, ids: Iterable[str]) -> int:
        with self._reaching("retry_dead"):
            return self.inner.retry_dead(ids)

    def drop_dead(self, ids: Iterable[str]) -> int:
        with self._reaching("drop_dead"):
            return self.inner.drop_dead(ids)

    def purge(self, queues: Sequence[str]) -> int:
        with self._reaching("purge"):
            return self.inner.purge(queues)

    def close(self) -> None:
        self.inner.close()
