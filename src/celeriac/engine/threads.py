"""Threads that run calls side by side, made when they are needed and kept for the next call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Threads"]

Call = Callable[[], None]


class Threads:
    """A bounded number of threads. They are daemons: a call that never returns keeps no process alive."""

    def __init__(self, most: int, name: str) -> None:
        self.most = most
        self._name = name
        self._calls: deque[Call] = deque()
        self._changed = threading.Condition()
        #: Threads that wait for a call, those already on their way to one included.
        self.idle = 0
        self._made = 0

    def submit(self, call: Call) -> None:
        """The call will be made by the next free thread; it must not raise."""
        with self._changed:
            self._calls.append(call)
            if self.idle >= len(self._calls):
                self._changed.notify()
            elif self._made < self.most:
                self._made += 1
                name = f"{self._name}-{self._made}"
                threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._calls:
                    self.idle += 1
                    self._changed.wait()
                    self.idle -= 1
                call = self._calls.popleft()
            call()
            del call  # what it holds on to is free while the thread is idle
