"""From slots that are needed to pods that are asked for, without asking to and fro."""

from __future__ import annotations

import math
from collections import deque

from celeriac.deploy.scaling.view import TICK

__all__ = ["Steps"]

_SHORTEST, _LONGEST = 400.0, 700.0  # seconds, at most
_QUICKEST, _UNHURRIED = 0.2, 150.0  # as a share of these; seconds of being short by which it grows by one
_FOR_ALL = 0.15  # of that, to give up every pod; longer for a smaller share of them
_REGRET = 900.0
_KEEP = 1.0  # pods
_UP_SLACK, _DOWN_SLACK = 0.4, 0.1  # of a pod
_PART = 0.15  # of the pods: more is no slack
_DROP = 0.6
_PAUSE = 200.0  # seconds from one step in to the next, for each time the step goes into the pods
_CLIMB, _LEAP = 120.0, 0.1  # seconds within which a second step out is a tenth longer


class Steps:
    """Scales out at once; scales in after a while, which grows when a step in had to be taken back."""

    def __init__(self, slots_per_pod: int) -> None:
        self._slots = slots_per_pod
        self._needs: deque[tuple[float, float]] = deque()
        self._hold = _SHORTEST
        self._pace = 1.0
        self._scaled_in = -math.inf
        self._scaled_out = -math.inf

    @property
    def hold(self) -> float:
        """Seconds for which the greatest need is kept."""
        return self._hold * self._pace

    def hurry(self, short_for: float) -> None:
        """Slots that are missed are missed for that many seconds: the fewer, the sooner one is given up."""
        self._pace = min(_QUICKEST + short_for / _UNHURRIED, 1.0)

    def pods(
        self, now: float, pods: int, steady: float, urgent: float, caution: float, *, brief: bool = False
    ) -> int:
        """Return the pods to ask for, where ``pods`` there are or are under way.

        ``steady`` slots are for what goes on, ``urgent`` ones for what has to be worked off. A part of a pod
        is done without while waits are short, so that its last task does not start another. What is urgent
        is held too, up to a pod, unless it is known to be ``brief``: chance comes back.
        """
        lasting = steady if brief else max(steady, min(urgent, steady + _KEEP * self._slots))
        self._needs.append((now, lasting))
        while self._needs[0][0] < now - self.hold:
            self._needs.popleft()
        slack = min(max(_UP_SLACK * (1 - caution / 2), 0.0), _UP_SLACK, _PART * pods)
        up = self._whole(steady, slack, urgent)
        if up > pods:
            self._regret(now, steady, urgent)
            climbing = now - self._scaled_out <= _CLIMB and steady >= urgent
            self._scaled_out = now
            return up + (math.ceil(_LEAP * up) if climbing else 0)
        down = self._down(now, pods, min(slack, _DOWN_SLACK), urgent)
        large = down <= _DROP * pods
        if urgent > self._held() and not large:
            return pods  # soon all of it has been worked off: one step then, not many now
        if down < pods:
            pause = _PAUSE * self._pace * pods / (pods - down)
            if now - self._scaled_in < pause and urgent <= self._held() and not large:
                return pods
            self._scaled_in = now
            self._hold = max(self._hold * 0.97, _SHORTEST)
        return min(pods, down)

    def _held(self) -> float:
        return max(need for _at, need in self._needs)

    def _down(self, now: float, pods: int, slack: float, urgent: float) -> int:
        """The fewest pods that have been enough for as long as a step of that size has to wait."""
        greatest = 0.0
        for at, need in reversed(self._needs):
            greatest = max(greatest, need)
            down = self._whole(greatest, slack, urgent)
            if down >= pods:
                return pods
            if now - at >= min(_FOR_ALL * pods / (pods - down), 1.0) * self.hold - TICK:
                return down
        return pods

    def _whole(self, steady: float, slack: float, urgent: float) -> int:
        return max(math.ceil(steady / self._slots - slack), math.ceil(urgent / self._slots))

    def _regret(self, now: float, steady: float, urgent: float) -> None:
        if steady >= urgent and now - self._scaled_in < _REGRET * self._pace:
            self._hold = min(self._hold * 1.1, _LONGEST)
