"""What every group of promises stands on: a fresh broker per test, and short words for long calls."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import pytest

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.lease import Claimed, Lease
from celeriac.testing.envelope import message, name_of

__all__ = ["LONG", "BrokerCase", "claim", "counts", "later", "names", "send", "take"]

#: Seconds that no test lasts; leases are taken for so long, and time is moved by arguments.
LONG = 1000.0


class BrokerCase:
    """The broker under test; a subclass says how to open it."""

    @pytest.fixture
    def broker(self) -> Iterator[Broker]:
        """A broker with no message in it, closed after the test."""
        raise NotImplementedError("define a fixture 'broker' that yields a broker without messages")

    def reopen(self) -> Broker:
        """Return a second instance on the store of the test's broker; asked only of shared brokers."""
        raise NotImplementedError("define reopen(): a second instance on the same store")

    def unreachable(self) -> Broker | None:
        """Return a broker whose store cannot be reached, or None if there is no such thing."""
        return None


def send(broker: Broker, *ids: str, queue: str = "q", priority: int = 0, due: float | None = None) -> None:
    """Send one message for each name, in one batch."""
    broker.send([message(name, queue, priority=priority, due=due) for name in ids])


def take(
    broker: Broker,
    n: int = 100,
    *,
    owner: str = "me",
    queues: Sequence[str] = ("q",),
    ack: Sequence[Lease] = (),
) -> list[Lease]:
    """Claim once and return the leases."""
    return list(claim(broker, n, owner=owner, queues=queues, ack=ack).leases)


def claim(
    broker: Broker,
    n: int = 100,
    *,
    owner: str = "me",
    queues: Sequence[str] = ("q",),
    ack: Sequence[Lease] = (),
) -> Claimed:
    """Claim once."""
    return broker.claim(queues, n, owner=owner, lease_for=LONG, ack=ack)


def names(leases: Iterable[Lease]) -> list[str]:
    """Return the names of the leased messages, in order."""
    return [name_of(lease.message.payload) for lease in leases]


def later(seconds: float = 2 * LONG) -> float:
    """Return the time at which every lease of the test has run out."""
    return time.time() + seconds


def counts(broker: Broker, queue: str = "q") -> QueueStats:
    """Return how many messages of the queue are in each state."""
    return broker.stats([queue])[queue]
