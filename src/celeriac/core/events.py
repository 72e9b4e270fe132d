"""What happens, as typed values; the logger, metrics and dashboard are only subscribers.

| event | emitted when | in |
|---|---|---|
| ShardStarting | a shard's process is about to be forked | supervisor |
| ShardStarted | a shard's process was forked | supervisor |
| ShardStopped | a shard ended, by itself or killed | supervisor |
| LeasesReturned | leases of a dead shard or node went back | supervisor |
| LeasesRenewed | a supervisor has renewed the leases of its shards | supervisor |
| MessageBuried | a message went to the dead letters | supervisor, shard |
| LeaseLost | a shard settled a lease that had been taken back | shard |
| BrokerLost, BrokerRegained | calls to the broker began to fail, and work again | both |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

__all__ = [
    "BrokerLost",
    "BrokerRegained",
    "Event",
    "Events",
    "LeaseLost",
    "LeasesRenewed",
    "LeasesReturned",
    "MessageBuried",
    "ShardStarted",
    "ShardStarting",
    "ShardStopped",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events."""


E = TypeVar("E", bound=Event)


class ShardStarting(Event, frozen=True, kw_only=True):
    shard: str


class ShardStarted(Event, frozen=True, kw_only=True):
    shard: str
    pid: int


class ShardStopped(Event, frozen=True, kw_only=True):
    shard: str
    pid: int
    #: As ``multiprocessing`` gives it: negative is the signal that killed it.
    exitcode: int
    expected: bool


class LeasesReturned(Event, frozen=True, kw_only=True):
    #: The dead shard's owner id, or None for nodes whose deadline passed.
    owner: str | None
    count: int


class LeasesRenewed(Event, frozen=True, kw_only=True):
    #: Of how many shards.
    count: int


class MessageBuried(Event, frozen=True, kw_only=True):
    queue: str
    reason: str


class LeaseLost(Event, frozen=True, kw_only=True):
    lease: str
    queue: str
    #: Or settled already, by a call whose answer was lost.
    unsure: bool = False


class BrokerLost(Event, frozen=True, kw_only=True):
    error: str
    #: Seconds until the next try.
    retry_in: float


class BrokerRegained(Event, frozen=True, kw_only=True):
    pass


class Events:
    """Calls subscribers in the order they subscribed, in the emitting thread."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[type[Event], list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, kind: type[E], subscriber: Callable[[E], None]) -> None:
        """Call ``subscriber`` with every later event of exactly this kind."""
        self._subscribers[kind].append(subscriber)

    def emit(self, event: Event) -> None:
        """Hand the event to its subscribers; an error of theirs reaches the caller."""
        for subscriber in self._subscribers[type(event)]:
            subscriber(event)
