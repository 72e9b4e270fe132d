"""A thread that sends what its process has committed, so that no request waits for the broker."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final

from django.db import connections

__all__ = ["Sender"]

#: Seconds without work after which the thread lets go of its database connections.
IDLE: Final = 10.0
#: Transactions that may wait for the thread; what comes then is left to the relay.
MOST: Final = 10_000

_Rows = tuple[str, Sequence[int]]
_Letters = SimpleQueue[_Rows | Event]


class Sender:
    """Used by all threads of a process; its own starts with the first rows, and anew after a fork."""

    def __init__(self, send: Callable[[str, Sequence[int]], None], patience: float) -> None:
        """``send`` publishes rows of a database; ``patience`` is in seconds, for the end of the process."""
        self._send = send
        self._patience = patience
        self._letters: _Letters = SimpleQueue()
        self._pid = 0

    def take(self, database: str, ids: Sequence[int]) -> None:
        """The rows are sent soon, together with what others have committed meanwhile."""
        if self._pid != os.getpid():
            self._start()
        if self._letters.qsize() < MOST:
            self._letters.put((database, ids))

    def finish(self, seconds: float) -> bool:
        """Wait for what has been taken so far; return whether it is done."""
        if self._pid != os.getpid():
            return True
        done = Event()
        self._letters.put(done)
        return done.wait(seconds)

    def _start(self) -> None:
        """Two threads that get here at once start one each: without a lock that a fork could leave locked."""
        letters: _Letters = SimpleQueue()
        Thread(target=self._run, args=(letters,), name="celeriac-outbox", daemon=True).start()
        atexit.register(self.finish, self._patience)
        self._letters = letters
        self._pid = os.getpid()

    def _run(self, letters: _Letters) -> None:
        while True:
            together: dict[str, list[int]] = {}
            done = []
            for letter in _waiting(letters):
                if isinstance(letter, Event):
                    done.append(letter)
                else:
                    together.setdefault(letter[0], []).extend(letter[1])
            for database, ids in together.items():
                self._send(database, ids)
            for event in done:
                event.set()


def _waiting(letters: _Letters) -> Iterator[_Rows | Event]:
    """Wait for a letter; yield it, and all others that are there."""
    try:
        yield letters.get(timeout=IDLE)
    except Empty:
        connections.close_all()
        yield letters.get()
    while True:
        try:
            yield letters.get_nowait()
        except Empty:
            return
