"""What was decided last for each pool, told at once to whoever waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from celeriac.deploy.scaling.brain import Decision
from celeriac.deploy.scaling.explanation import Moment
from celeriac.deploy.scaling.view import TICK

__all__ = ["Answer", "Answers", "Basis"]

#: Decisions that can be explained: a day of them.
_TOLD = int(86_400 / TICK)


class Basis:
    """What an answer rests on."""

    FORECAST = "forecast"
    REACTIVE = "reactive"  #: nobody tells how long tasks run
    HOLDING = "holding"  #: the broker does not answer
    WOKEN = "woken"  #: a first message, or beat is about to send one
    ALL = (FORECAST, REACTIVE, HOLDING, WOKEN)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How many pods one pool should have, why, and what was seen of it."""

    pool: str
    desired: int  #: what autoscalers are told; in preview, the pods that there are
    active: bool  #: whether there should be any
    advised: int  #: what was decided; other than ``desired`` in preview only
    basis: str
    reason: str
    at: float  #: Unix seconds
    preview: bool = False
    ready: int = 0
    starting: int = 0
    terminating: int = 0
    queued: int = 0
    running: int = 0
    delayed: int = 0
    arrivals: int = 0  #: since the decision before, those included that were announced
    load: float = 0.0  #: slots that these arrivals keep busy
    slots_per_pod: int = 1
    decision: Decision = Decision(0)

    @property
    def pods(self) -> int:
        """Pods that there are or that are under way."""
        return self.ready + self.starting

    def moment(self) -> Moment:
        """Return what an explanation needs."""
        return Moment(self.at, self.pods, self.load, self.decision)


class Answers:
    """The latest answer of each pool, and the moments of the last day; any thread may ask or wait."""

    def __init__(self, pools: Sequence[str]) -> None:
        self.pools = tuple(pools)
        self._latest: dict[str, Answer] = {}
        self._moments: dict[str, deque[Moment]] = {pool: deque(maxlen=_TOLD) for pool in pools}
        self._changed = threading.Condition()
        self._closed = False

    def tell(self, answer: Answer) -> None:
        """Make this the pool's answer, and wake whoever follows it."""
        with self._changed:
            self._latest[answer.pool] = answer
            if answer.basis in (Basis.FORECAST, Basis.REACTIVE):
                self._moments[answer.pool].append(answer.moment())
            self._changed.notify_all()

    def latest(self, pool: str) -> Answer | None:
        """Return the pool's answer; None as long as nothing is known of it."""
        with self._changed:
            return self._latest.get(pool)

    def moments(self, pool: str) -> list[Moment]:
        """Return the decisions of the last day, the oldest first."""
        with self._changed:
            return list(self._moments[pool])

    def close(self) -> None:
        """Let everybody go who follows."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def follow_active(self, pool: str, every: float) -> Iterator[bool]:
        """Yield whether the pool should have pods: now, at each change, and every so many seconds."""
        told: bool | None = None
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._has_news, pool, told), every)
                if self._closed:
                    return
                told = self._active(pool)
            if told is not None:
                yield told

    def _has_news(self, pool: str, told: bool | None) -> bool:
        return self._closed or self._active(pool) not in (told, None)

    def _active(self, pool: str) -> bool | None:
        answer = self._latest.get(pool)
        return None if answer is None else answer.active
