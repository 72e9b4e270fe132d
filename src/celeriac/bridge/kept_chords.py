"""Chords called inside a transaction: the result backend hears of them when their messages leave, not before.

Before Celery publishes the tasks of a chord it tells the result backend how many there are, and what their
results will look like. Told at once that outlives a rollback; told after the commit it is lost with a process
that dies in between, and the chord never ends. So it is noted on the next message, which is kept in the
outbox, and told by whoever publishes that message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import unwrap
from typing import Any

from celery.backends.base import Backend, BaseKeyValueStoreBackend
from celery.result import result_from_tuple
from celery.utils.functional import _regen

from celeriac.bridge.chord_notes import ChordNote, taken_off
from celeriac.bridge.outgoing import placing_of
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.outbox import Outgoing

__all__ = ["ChordTeller", "keep_chords"]


def keep_chords(backend: Any, app: Any) -> None:
    """The backend is told of a chord that waits for a commit by a :class:`ChordTeller`, and not before.

    Others than key-value stores publish a message for each chord, which is kept as all are, or write into a
    database of Django's.
    """
    apply_chord, set_chord_size = backend.apply_chord, backend.set_chord_size
    publishes = getattr(apply_chord, "__func__", None) is Backend.apply_chord
    if publishes or not isinstance(backend, BaseKeyValueStoreBackend):
        return

    @wraps(apply_chord)
    def kept_apply_chord(results: Sequence[Any], body: Any, **options: Any) -> None:
        database = _transaction(app, body.options)
        if database is None:
            apply_chord(results, body, **options)
            return
        group, parts = results
        # Redis does not look at what is generated; other stores need the list.
        lazy = isinstance(parts, _regen) and _is_redis(backend)
        told = None if lazy else [one.as_tuple() for one in parts]
        app.departures.keep_chord(database, ChordNote(group, told))

    @wraps(set_chord_size)
    def kept_set_chord_size(group: str, size: int) -> None:
        departures = app.departures
        database = None if departures is None else departures.chords.database_of(group)
        if database is None:
            set_chord_size(group, size)
        else:
            departures.keep_chord(database, ChordNote(group, size=size))

    backend.apply_chord, backend.set_chord_size = kept_apply_chord, kept_set_chord_size


class ChordTeller:
    """Tells the result backend of one app what is noted on messages."""

    def __init__(self, app: Any, patience: float | None = None) -> None:
        """``patience`` is in seconds: how long the backend may take to answer, if not as long as ever."""
        self._app = app
        self._patience = patience
        self._own: Any = None

    def told(self, outgoing: Sequence[Outgoing], refuse: Callable[[int, str], None]) -> Sequence[Outgoing]:
        """Return the messages without notes, once the backend has been told what was on them.

        ``refuse`` is called with a message's place and the reason if what it carries cannot be told; raises
        :class:`BrokerUnavailable` if the backend cannot be reached.
        """
        bare, notes = taken_off(outgoing)
        for place, on_one in notes:
            try:
                self._tell(on_one)
            except BrokerUnavailable:
                raise
            except Exception as error:
                # Backends raise what they like; the message counts as refused, for this reason.
                if isinstance(error, OSError) or self._backend().exception_safe_to_retry(error):
                    raise BrokerUnavailable(f"the result backend cannot be reached: {error}") from error
                refuse(place, f"the result backend does not take the chord: {error}")
        return bare

    def _tell(self, notes: Sequence[ChordNote]) -> None:
        backend = self._backend()
        for note in notes:
            if note.results is not None:
                results = [result_from_tuple(one, self._app) for one in note.results]
                unwrap(backend.apply_chord)((note.group, results), None)
            if note.size is not None:
                unwrap(backend.set_chord_size)(note.group, note.size)

    def _backend(self) -> Any:
        if self._patience is None:
            return self._app.backend
        if self._own is None:
            self._own = self._app._get_backend()
            if _is_redis(self._own):
                names = ("socket_connect_timeout", "socket_timeout")
                self._own.connparams = {**self._own.connparams, **dict.fromkeys(names, self._patience / 2)}
                self._own.retry_policy = {**self._own.retry_policy, "max_retries": 1}
        return self._own


def _is_redis(backend: Any) -> bool:
    # Told by its looks: importing Celery's class would make redis-py a need of every app.
    return hasattr(backend, "connparams")


def _transaction(app: Any, options: Mapping[str, Any]) -> str | None:
    """Return the database whose commit a chord with these options waits for; None: it waits for none."""
    departures = app.departures
    if departures is None or options.get("replaced_task_nesting"):
        return None  # what takes a running task's place is sent at once
    place, _ = placing_of(options)
    with departures.placed(place):
        found: str | None = departures.transaction()
    return found
