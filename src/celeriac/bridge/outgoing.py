"""Calls made inside a transaction: rendered as ever, and kept in the outbox instead of sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from celeriac.bridge.chord_notes import ChordNote, ChordNotes
from celeriac.core.message import Message
from celeriac.core.outbox import Outbox, Outgoing, Told

__all__ = ["ORDERING_KEY", "PLACING", "Departures", "Place", "placing_of"]

#: Options of a call that say where it is kept until the commit; no part of the message.
PLACING: Final = frozenset({"using", "outbox", "ordering_key"})
#: The header that carries the ordering key, which a relay goes by.
ORDERING_KEY: Final = "celeriac-ordering-key"


class Place(msgspec.Struct, frozen=True):
    """What a caller has said of where the message is kept until the commit."""

    #: The database whose transaction it takes part in; None: the only one there is.
    using: str | None = None
    #: False: it is sent at once, whatever becomes of the transaction.
    outbox: bool = True


class _Headers(msgspec.Struct, frozen=True):
    id: str
    task: str
    ordering_key: str | None = msgspec.field(name=ORDERING_KEY, default=None)


class _Envelope(msgspec.Struct, frozen=True):
    headers: _Headers


_read = msgspec.json.Decoder(_Envelope).decode
_ANYWHERE: Final = Place()


class Departures:
    """Decides for each message of one app whether it is sent at once or kept for the commit."""

    def __init__(self, outbox: Outbox) -> None:
        #: The chords that wait for a commit.
        self.chords = ChordNotes()
        self._outbox = outbox
        self._place: ContextVar[Place] = ContextVar("place", default=_ANYWHERE)

    @contextmanager
    def placed(self, place: Place) -> Iterator[None]:
        """What is published inside the block is kept, or sent, as ``place`` says."""
        token = self._place.set(place)
        try:
            yield
        finally:
            self._place.reset(token)

    @contextmanager
    def directly(self) -> Iterator[None]:
        """What is published inside the block is sent at once, whatever becomes of the transaction."""
        with self.placed(Place(outbox=False)):
            yield

    def transaction(self) -> str | None:
        """Return the database in whose transaction a message published now is kept; None: it is sent."""
        place = self._place.get()
        return self._outbox.transaction(place.using) if place.outbox else None

    def keep(self, database: str, messages: Sequence[Message], exchange: str = "") -> None:
        """The messages leave once the transaction has been committed, and never if it is not."""
        outgoing = [_outgoing(message, exchange) for message in messages]
        self._outbox.add(database, self.chords.attached(database, outgoing))

    def keep_chord(self, database: str, note: ChordNote) -> None:
        """The result backend is told of the chord once the transaction has been committed."""
        if self.chords.add(database, note):
            self.at_end(database, self.chords.forget, database)

    def at_end(self, database: str, told: Told, what: Any) -> None:
        """``told`` is called when the transaction has ended: whether with a commit, and with all ``what``."""
        self._outbox.at_end(database, told, what)


def placing_of(options: Mapping[str, Any]) -> tuple[Place, dict[str, Any]]:
    """Return the place that a call's options ask for, and its other options, for which they are none."""
    place = Place(options.get("using"), options.get("outbox") is not False)
    others = {option: value for option, value in options.items() if option not in PLACING}
    if (key := options.get("ordering_key")) is not None:
        others["headers"] = {**(others.get("headers") or {}), ORDERING_KEY: str(key)}
    return place, others


def _outgoing(message: Message, exchange: str) -> Outgoing:
    headers = _read(message.payload).headers
    return Outgoing(
        id=headers.id,
        task=headers.task,
        message=message,
        exchange=exchange,
        ordering_key=headers.ordering_key,
    )
