"""What can be seen of a broker and its workers from outside, without asking the workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from celeriac.core.message import Message

__all__ = ["Backlog", "Backlogs", "InMemory", "Memory", "Watchable"]


@runtime_checkable
class Watchable(Protocol):
    """A broker whose queues can be looked into, and which passes on what workers say of themselves."""

    def oldest(self, queues: Sequence[str]) -> Sequence[Message]:
        """Return the ready message that is served next of each named queue and priority that has one."""
        ...

    def post(self, name: str, text: bytes, keep_for: float) -> None:
        """Let ``posted`` tell this text under this name, in place of an earlier one, for so many seconds."""
        ...

    def posted(self) -> Mapping[str, bytes]:
        """Return what has been posted and not run out, by name."""
        ...


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker's server takes of its machine's memory."""

    used_bytes: int
    #: None: as much as there is.
    most_bytes: int | None = None
    #: Keys that the server has thrown away for want of memory, since it was started.
    evicted_keys: int = 0


@runtime_checkable
class InMemory(Protocol):
    """A broker whose server keeps all messages in memory."""

    def memory(self) -> Memory:
        """Return how much it takes; raise BrokerError if it does not say."""
        ...


class Backlog(Protocol):
    """What waits in one database's outbox at one moment."""

    @property
    def database(self) -> str: ...

    @property
    def depth(self) -> int:
        """Messages that are committed and have not left."""
        ...

    @property
    def oldest_seconds(self) -> float:
        """Seconds since the oldest of them was written; 0 if there are none."""
        ...

    @property
    def dead(self) -> int:
        """Messages that were refused for good."""
        ...


#: Measures every outbox of an application.
Backlogs = Callable[[], Sequence[Backlog]]
