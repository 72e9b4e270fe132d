"""The pods of a pool where no cluster is asked: its workers, and those asked for that are not there yet."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.deploy.cluster.pods import PoolPods

__all__ = ["PodsTold"]

#: Seconds after which a pod that was asked for and never came is no longer expected.
_GIVEN_UP = 900.0


class PodsTold:
    """Takes a worker for a pod, and believes that what was asked for is under way."""

    def __init__(self) -> None:
        self._asked: list[float] = []
        self._ready: int | None = None

    def since(self, now: float, workers: int) -> PoolPods:
        """Return the pods now (Unix seconds), and what it took those that came since the call before."""
        new = 0 if self._ready is None else max(workers - self._ready, 0)
        self._ready = workers
        started = [now - asked for asked in self._asked[:new]]
        self._asked = [asked for asked in self._asked[new:] if now - asked < _GIVEN_UP]
        return PoolPods(ready=workers, starting=self.ages(now), started=tuple(started))

    def ages(self, now: float) -> tuple[float, ...]:
        """Return for each pod under way the seconds since it was asked for."""
        return tuple(now - asked for asked in self._asked)

    def asked_for(self, pods: int, now: float) -> None:
        """So many pods are asked for, those included that there are."""
        missing: Sequence[float] = [now] * max(pods - (self._ready or 0) - len(self._asked), 0)
        self._asked = [*self._asked, *missing][: max(pods - (self._ready or 0), 0)]
