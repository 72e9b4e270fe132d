"""From slots that are needed to pods that are asked for, without asking to and fro."""

from __future__ import annotations

import math
from collections import deque

__all__ = ["Steps"]

_SHORTEST, _LONGEST = 400.0, 700.0  # seconds
_REGRET = 900.0
_UP_SLACK, _DOWN_SLACK = 0.4, 0.1  # of a pod
_DROP = 0.6
_PAUSE = 300.0  # seconds from one step in to the next
_CLIMB, _LEAP = 120.0, 0.1  # seconds within which a second step out is a tenth longer


class Steps:
    """Scales out at once; scales in after a while, which grows when a step in had to be taken back."""

    def __init__(self, slots_per_pod: int) -> None:
        self._slots = slots_per_pod
        self._needs: deque[tuple[float, float]] = deque()
        self._hold = _SHORTEST
        self._scaled_in = -math.inf
        self._scaled_out = -math.inf

    @property
    def hold(self) -> float:
        """Seconds for which the greatest need is kept."""
        return self._hold

    def pods(self, now: float, pods: int, steady: float, urgent: float, caution: float) -> int:
        """Return the pods to ask for, where ``pods`` there are or are under way.

        ``steady`` slots are for what goes on, ``urgent`` ones for what has to be worked off. A part of a pod
        is done without while waits are short, so that its last task does not start another.
        """
        self._needs.append((now, steady))
        while self._needs[0][0] < now - self._hold:
            self._needs.popleft()
        held = max(need for _at, need in self._needs)
        slack = min(max(_UP_SLACK * (1 - caution / 2), 0.0), _UP_SLACK)
        up = self._whole(steady, slack, urgent)
        if up > pods:
            self._regret(now, steady, urgent)
            climbing = now - self._scaled_out <= _CLIMB and steady >= urgent
            self._scaled_out = now
            return up + (math.ceil(_LEAP * up) if climbing else 0)
        down = self._whole(held, min(slack, _DOWN_SLACK), urgent)
        if urgent > held and down > _DROP * pods:
            return pods  # soon all of it has been worked off: one step then, not many now
        if down < pods:
            if now - self._scaled_in < _PAUSE and urgent <= held and down > _DROP * pods:
                return pods
            self._scaled_in = now
            self._hold = max(self._hold * 0.97, _SHORTEST)
        return min(pods, down)

    def _whole(self, steady: float, slack: float, urgent: float) -> int:
        return max(math.ceil(steady / self._slots - slack), math.ceil(urgent / self._slots))

    def _regret(self, now: float, steady: float, urgent: float) -> None:
        if steady >= urgent and now - self._scaled_in < _REGRET:
            self._hold = min(self._hold * 1.1, _LONGEST)
