"""Where a message goes that is published inside a transaction of the application's own database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from celeriac.core.message import Message

__all__ = ["Outbox", "Outgoing", "Outlet", "Told"]

#: Is told whether a transaction has been committed, and all that it was to be told that for.
Told = Callable[[bool, Sequence[Any]], None]


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits in an outbox, and what is to be known of it without reading its payload."""

    #: The task's id, and its name.
    id: str
    task: str
    message: Message
    #: Where its queue's name is a routing key of this exchange; empty: straight into the queue.
    exchange: str = ""
    #: Messages with the same key leave the outbox in the order in which they came in.
    ordering_key: str | None = None


class Outbox(Protocol):
    """Keeps messages with what the transaction changes: both are there after it, or neither."""

    def transaction(self, using: str | None = None) -> str | None:
        """Return the name of the database in whose open transaction a call made now takes part.

        None if there is none. ``using`` names the database where several have one; without it that is
        a ConfigurationError, as nobody can tell which one is meant.
        """
        ...

    def add(self, database: str, outgoing: Sequence[Outgoing]) -> None:
        """Keep the messages in the open transaction of that database, in their order."""
        ...

    def at_end(self, database: str, told: Told, what: Any) -> None:
        """Call ``told`` once for all its ``what`` when the open transaction of that database has ended.

        Nobody is told of the end of a process that dies before.
        """
        ...


class Outlet(Protocol):
    """Takes what leaves an outbox after the commit."""

    def publish(self, outgoing: Sequence[Outgoing]) -> Mapping[int, str]:
        """Return why some messages were refused, by their place in the sequence.

        All others are with the broker, except those that come after a refused one with the same ordering
        key: they have not been sent. Raises :class:`~celeriac.core.errors.BrokerUnavailable` if the broker
        could not be reached; some messages may be there then.
        """
        ...
