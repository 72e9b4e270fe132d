"""What the result backend is to be told of chords, on its way through an outbox with their messages."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from celeriac.core.outbox import Outgoing

__all__ = ["ChordNote", "ChordNotes", "taken_off"]

#: The header that notes travel in as far as the outbox; no broker sees it.
_HEADER: Final = "celeriac-chords"
#: As JSON has it; inside of a text its quotes would be escaped.
_MARK: Final = f'"{_HEADER}":'.encode()


class ChordNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the result backend is to be told of one chord before the message with this note leaves."""

    group: str
    #: The results of its tasks, as their ``as_tuple`` has them.
    results: list[Any] | None = None
    #: How many results there will be.
    size: int | None = None


class _Kept(msgspec.Struct):
    """The chords of one transaction."""

    #: Its messages leave in their order, so that none overtakes the one with the note.
    ordering_key: str
    groups: set[str] = msgspec.field(default_factory=set)
    #: Notes for the next message.
    waiting: list[ChordNote] = msgspec.field(default_factory=list)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.kept: dict[str, _Kept] = {}


class ChordNotes:
    """Of the transactions that are open now, each in its own thread."""

    def __init__(self) -> None:
        self._of_thread = _OfThread()

    def add(self, database: str, note: ChordNote) -> bool:
        """The next message that is kept in this database carries the note; return if it is the first one."""
        kept = self._of_thread.kept.get(database)
        first = kept is None
        if kept is None:
            kept = self._of_thread.kept[database] = _Kept(f"chord {note.group}")
        kept.groups.add(note.group)
        if not (note.results is None and note.size is None):
            kept.waiting.append(note)
        return first

    def database_of(self, group: str | None) -> str | None:
        """Return the database that the chord with this group waits for; None if it waits for none."""
        found = self._of_thread.kept.items()
        return next((database for database, kept in found if group in kept.groups), None)

    def forget(self, _committed: bool, databases: Sequence[str]) -> None:
        """The transaction on these has ended."""
        for database in databases:
            self._of_thread.kept.pop(database, None)

    def attached(self, database: str, outgoing: list[Outgoing]) -> list[Outgoing]:
        """Return the messages with all notes that wait, in an order that holds while chords are kept."""
        kept = self._of_thread.kept.get(database)
        if kept is None or not outgoing:
            return outgoing
        notes, kept.waiting = kept.waiting, []
        if notes:
            outgoing = [_noted(outgoing[0], notes), *outgoing[1:]]
        return [replace(one, ordering_key=one.ordering_key or kept.ordering_key) for one in outgoing]


def taken_off(outgoing: Sequence[Outgoing]) -> tuple[Sequence[Outgoing], list[tuple[int, list[ChordNote]]]]:
    """Return the messages as the broker gets them, and their notes with the places they were at."""
    if not any(_MARK in one.message.payload for one in outgoing):
        return outgoing, []
    bare, found = [], []
    for place, one in enumerate(outgoing):
        envelope = json.loads(one.message.payload) if _MARK in one.message.payload else {"headers": {}}
        notes = envelope["headers"].pop(_HEADER, None)
        if notes is not None:
            found.append((place, msgspec.convert(notes, list[ChordNote])))
            one = _with_envelope(one, envelope)
        bare.append(one)
    return bare, found


def _noted(one: Outgoing, notes: Sequence[ChordNote]) -> Outgoing:
    envelope = json.loads(one.message.payload)
    envelope["headers"][_HEADER] = msgspec.to_builtins(notes)
    return _with_envelope(one, envelope)


def _with_envelope(one: Outgoing, envelope: dict[str, Any]) -> Outgoing:
    return replace(one, message=replace(one.message, payload=json.dumps(envelope).encode()))
