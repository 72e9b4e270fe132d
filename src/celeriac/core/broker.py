"""The seam every broker implements: batched verbs over opaque messages.

A message is always in exactly one state::

    send ──> ready ──claim──> leased ──ack──> done (gone)
               ^ ^              │ │ └─bury──> dead ──retry_dead──> ready
               │ └──release─────┘ │
               │    reap, evict   └─delay──> delayed
               └──────────promote_due──────────┘

Each verb is one atomic broker operation per call, or a batch of operations each of which is
atomic; a process killed inside any of them leaves every message in one of the states above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped, Scheduled
from celeriac.core.message import Message

__all__ = ["Broker", "FanOut", "Features", "Promoted", "QueueStats"]


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker can do, as data: both the engine and the contract tests read it."""

    #: Messages outlive the process that sent them.
    persistent: bool = False
    #: Several processes may use it at once.
    shared: bool = False
    #: ``wait`` returns on arrival instead of looking every now and then.
    blocking_wait: bool = False
    #: ``send`` itself holds back a message with ``due``; otherwise whoever claims it early delays it.
    native_delay: bool = False
    #: Lower priorities are claimed first.
    priorities: bool = False
    #: Implements :class:`FanOut`.
    fan_out: bool = False
    #: Stock Celery workers and producers can use the same queues.
    celery_wire: bool = False


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages of one queue are in each state."""

    ready: int = 0
    leased: int = 0
    delayed: int = 0
    dead: int = 0


class Promoted(msgspec.Struct, frozen=True):
    """How many delayed messages became ready, and when the next will be due (Unix seconds)."""

    count: int = 0
    next_due: float | None = None


@runtime_checkable
class Broker(Protocol):
    """Messages in, leases out. One instance belongs to one process and is not shared by threads.

    ``now`` arguments are Unix seconds; None stands for the broker's own clock, the only one that
    all nodes share. Every verb raises :class:`~celeriac.core.errors.BrokerUnavailable` when the
    broker cannot be reached; then each message is in the state before or after the call.
    """

    features: Features

    def send(self, messages: Sequence[Message]) -> None:
        """Keep all messages, in order; once this returns, no crash of a worker loses one."""
        ...

    def claim(
        self,
        queues: Sequence[str],
        n: int,
        *,
        owner: str,
        lease_for: float,
        ack: Sequence[Lease] = (),
    ) -> Claimed:
        """Ack the given leases, then lease up to ``n`` ready messages to ``owner``.

        Strictly by priority, then by the order of ``queues``, then oldest first. A message that was
        delivered before ends its batch, so that a poison message endangers no other. The owner's
        deadline becomes ``lease_for`` seconds from now.
        """
        ...

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        """Return when a queue may hold a ready message, at latest after ``timeout`` seconds."""
        ...

    def renew(self, owners: Iterable[str], lease_for: float) -> None:
        """Move the deadline of each owner that still has one to ``lease_for`` seconds from now."""
        ...

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Make the leased messages done; return the leases that were no longer ours."""
        ...

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Put the messages back to be claimed next, uncounted; return the leases no longer ours."""
        ...

    def delay(self, leases: Sequence[tuple[Lease, float]]) -> Sequence[Lease]:
        """Hold each message until its time (Unix seconds); return the leases no longer ours."""
        ...

    def bury(self, leases: Sequence[tuple[Lease, str]]) -> Sequence[Lease]:
        """Move each message with its reason to the dead letters; return the leases no longer ours."""
        ...

    def promote_due(self, now: float | None = None, limit: int = 1000) -> Promoted:
        """Make up to ``limit`` delayed messages whose time has come ready."""
        ...

    def reap(self, now: float | None = None, *, max_deliveries: int) -> Reaped:
        """Take back all leases of every owner whose deadline has passed.

        Each message counts one more delivery and goes back to be claimed next, or, at
        ``max_deliveries``, to the dead letters.
        """
        ...

    def evict(self, eviction: Eviction, *, max_deliveries: int) -> Reaped:
        """Take back all leases of one owner known to be dead, without waiting for its deadline.

        Its started deliveries are dealt with as the eviction says; the others go back uncounted.
        """
        ...

    def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        """Count the messages of each named queue by state."""
        ...

    def scheduled(self, queues: Sequence[str], offset: int = 0, limit: int = 100) -> Sequence[Scheduled]:
        """List delayed messages of the named queues, the earliest due first."""
        ...

    def dead_letters(self, offset: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
        """List dead letters, the latest first."""
        ...

    def retry_dead(self, ids: Iterable[str]) -> int:
        """Put dead letters back on their queues, byte for byte, as first deliveries; return how many."""
        ...

    def drop_dead(self, ids: Iterable[str]) -> int:
        """Forget dead letters for good; return how many."""
        ...

    def purge(self, queues: Sequence[str]) -> int:
        """Drop the ready and delayed messages of the named queues; return how many."""
        ...

    def close(self) -> None:
        """Let go of connections; leases stay as they are. May be called twice."""
        ...


@runtime_checkable
class FanOut(Protocol):
    """Named exchanges that copy a message to every queue bound to them (remote control, events)."""

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Add a binding; adding it twice changes nothing."""
        ...

    def bindings(self, exchange: str) -> Sequence[tuple[str, str, str]]:
        """Return ``(routing_key, pattern, queue)`` of every binding of the exchange."""
        ...

    def expire_queue(self, queue: str, after: float) -> None:
        """Forget the queue once it was not touched (claimed from, or this call) for ``after`` seconds."""
        ...

    def forget_queue(self, queue: str) -> None:
        """Drop the queue's ready messages and all its bindings."""
        ...
