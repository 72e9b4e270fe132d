"""The relays of several databases, in turn, in one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from celeriac.django.relay import Relay

__all__ = ["Relays"]

#: Seconds after which it is noticed that there is an end to it.
NOTICE: Final = 0.1
#: Seconds between two looks for databases that have an outbox by now.
DISCOVER: Final = 10.0


class Relays:
    """Owned by whoever runs it."""

    def __init__(self, find: Callable[[], Iterable[str]], make: Callable[[str], Relay]) -> None:
        """``find`` returns the databases that have an outbox now, ``make`` the relay of one."""
        self._find = find
        self._make = make
        self._relays: dict[str, Relay] = {}
        self._next_look: dict[str, float] = {}
        self._discovered_at = float("-inf")

    @property
    def relayed(self) -> dict[str, int]:
        """Messages published so far, by database."""
        return {alias: relay.relayed for alias, relay in self._relays.items()}

    def run(self, stopped: Callable[[], bool]) -> None:
        """Relay until ``stopped()`` is true."""
        try:
            while not stopped():
                time.sleep(min(self.tick(), NOTICE))
        finally:
            self.close()

    def drain(self, stopped: Callable[[], bool], seconds: float) -> bool:
        """Relay until nothing is left, or for so many seconds; return whether nothing is."""
        deadline = time.monotonic() + seconds
        try:
            while not stopped():
                pause = self.tick()
                if pause and not any(relay.has_rows() for relay in self._relays.values()):
                    return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(min(pause, NOTICE))
            return False
        finally:
            self.close()

    def tick(self) -> float:
        """Let those work whose time has come; return the seconds until somebody's time comes."""
        if time.monotonic() > self._discovered_at + DISCOVER:
            self._discovered_at = time.monotonic()
            for alias in self._find():
                if alias not in self._relays:
                    self._relays[alias] = self._make(alias)
                    self._next_look[alias] = 0.0
        for alias, relay in self._relays.items():
            if time.monotonic() >= self._next_look[alias]:
                self._next_look[alias] = time.monotonic() + relay.tick()
        soonest = min(self._next_look.values(), default=float("inf"))
        return max(0.0, soonest - time.monotonic())

    def close(self) -> None:
        """Let others take over."""
        for relay in self._relays.values():
            relay.close()
