"""Whether a worker lives, and whether it is ready: from its supervisor's own heartbeat."""

from __future__ import annotations

import threading

import msgspec

__all__ = ["LIVE_WITHIN", "Health", "Pulse"]

#: Seconds within which the supervisor must have gone through its loop, or the worker does not live.
LIVE_WITHIN = 30.0


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor has seen at its last heartbeat."""

    #: Monotonic seconds.
    at: float
    slots: int
    busy: int
    #: Processes that it wants, and those that live.
    wanted: int
    alive: int


class Health:
    """Written by the supervisor, read by those who ask."""

    def __init__(self, *, beats: bool = True) -> None:
        """Without ``beats`` the supervisor itself runs tasks, and is silent meanwhile."""
        self._beats = beats
        self._lock = threading.Lock()
        self._pulse: Pulse | None = None
        self._stopping = False
        self._broker_error = ""

    def beat(self, pulse: Pulse) -> None:
        """The supervisor goes on."""
        with self._lock:
            self._pulse = pulse

    def stop(self) -> None:
        """The worker has been told to stop: it lives on, and takes no more work."""
        self._stopping = True

    def broker_lost(self, error: str) -> None:
        """The broker does not answer."""
        self._broker_error = error or "it does not answer"

    def broker_found(self) -> None:
        """It answers again."""
        self._broker_error = ""

    @property
    def pulse(self) -> Pulse | None:
        """The last heartbeat; None before the first."""
        with self._lock:
            return self._pulse

    def why_not_live(self, now: float) -> str | None:
        """Return why the worker is to be restarted, None if it lives. The broker has no say in it."""
        pulse = self.pulse
        if pulse is None or not self._beats:
            return None
        silent = now - pulse.at
        if silent > LIVE_WITHIN:
            return f"the supervisor has been silent for {silent:.0f} s"
        return None

    def why_not_ready(self, now: float) -> str | None:
        """Return why the worker takes no work, None if it does. Being busy is no reason."""
        pulse = self.pulse
        if pulse is None:
            return "the worker is starting"
        if self._stopping:
            return "the worker is stopping"
        if self._broker_error:
            return f"the broker cannot be reached: {self._broker_error}"
        if pulse.wanted and not pulse.alive:
            return "no process that runs tasks is alive"
        return self.why_not_live(now)
