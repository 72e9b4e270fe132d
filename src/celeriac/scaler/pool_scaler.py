"""Decides for one pool: asks the brain at every tick, or does what is safe where it cannot be asked."""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import dataclass, replace

from celeriac.deploy.cluster.pods import PoolPods
from celeriac.deploy.outlets.answers import Answer, Basis
from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.brain import Brain, Decision
from celeriac.deploy.scaling.memory import Unreadable, recall, remember
from celeriac.deploy.scaling.view import TICK, View
from celeriac.scaler.pool_watch import Seen
from celeriac.scaler.remembered import PoolMemory

__all__ = ["PoolScaler"]

logger = logging.getLogger("celeriac.scaler")

_LATELY = 20
#: Ticks that a gap may have to be bridged: a day; beyond that the load is learnt anew.
_BRIDGED = int(86_400 / TICK)


@dataclass
class _Lately:
    """What the last ticks were like."""

    arrivals: deque[int]
    at: float | None = None
    service_time: float | None = None

    @property
    def level(self) -> float:
        return sum(self.arrivals) / len(self.arrivals) if self.arrivals else 0.0


class PoolScaler:
    """One pool's brain, and its last answer."""

    def __init__(self, name: str, aims: Aims, memory: PoolMemory | None = None) -> None:
        self.name = name
        self.aims = aims
        self._brain = Brain(aims)
        self._lately = _Lately(deque(maxlen=_LATELY))
        self._answer: Answer | None = None
        self._lead = aims.startup
        if memory is not None:
            self._recall(memory)

    @property
    def lead(self) -> float:
        """Seconds that a pod is expected to take."""
        return self._lead

    def decide(self, seen: Seen, beat_is_near: str | None) -> Answer:
        """Return what to do now; to be called once a tick."""
        view = seen.view
        self._bridge(view)
        decision = self._brain.explain(view)
        self._lead = decision.lead
        if view.finished:
            self._lately.service_time = view.run_seconds / view.finished
        self._lately.arrivals.append(view.arrivals)
        self._lately.at = view.now
        basis = Basis.FORECAST
        if seen.silent:
            basis, decision = Basis.REACTIVE, self._react(view, decision)
        elif not decision.pods and beat_is_near is not None:
            reason = f"beat is about to send {beat_is_near}"
            basis, decision = Basis.WOKEN, replace(decision, pods=1, reason=reason)
        return self._told(seen, decision, basis)

    def hold(self, now: float, pods: PoolPods) -> Answer | None:
        """Return the last answer, as the broker cannot be asked; None if there has been none."""
        last = self._answer
        if last is None:
            return None
        view = View(now, ready=last.desired, metrics=False, started=pods.started)
        decision = self._brain.explain(view)
        answer = Answer(
            pool=self.name,
            desired=last.desired,
            active=last.active,
            advised=last.advised,
            basis=Basis.HOLDING,
            reason="the broker does not answer: nothing changes",
            at=now,
            preview=self.aims.preview,
            ready=pods.ready,
            starting=len(pods.starting),
            terminating=pods.terminating,
            slots_per_pod=self.aims.slots_per_pod,
            decision=decision,
        )
        self._log(answer)
        self._answer = answer
        return answer

    def memory(self) -> PoolMemory | None:
        """Return what a later life should know; None if nothing was decided yet."""
        if self._lately.at is None:
            return None
        return PoolMemory(remember(self._brain), self._lately.at, self._lately.level)

    def _recall(self, memory: PoolMemory) -> None:
        try:
            recall(self._brain, memory.brain)
        except Unreadable as error:
            logger.warning("Pool %s is learnt anew: %s", self.name, error)
            return
        self._lately.at = memory.at
        self._lately.arrivals.append(round(memory.level))
        logger.info("Pool %s: what was learnt before is known", self.name)

    def _bridge(self, view: View) -> None:
        """Tell the brain of the ticks in which it was not asked, so that its days stay days."""
        last = self._lately.at
        missed = 0 if last is None else round((view.now - last) / TICK) - 1
        if last is None or missed <= 0:
            return
        if missed > _BRIDGED:
            logger.info("Pool %s was not looked at for more than a day: it is learnt anew", self.name)
            self._brain = Brain(self.aims)
            return
        # Without a look in between, what came is spread over the time; after a restart it is not known.
        known = self._answer is not None
        each = view.arrivals / (missed + 1) if known else self._lately.level
        if known:
            view.arrivals = round(each)
        for tick in range(missed):
            at = last + (tick + 1) * TICK
            self._brain.explain(View(at, arrivals=round(each), running=view.running, ready=view.ready))

    def _react(self, view: View, decision: Decision) -> Decision:
        """Return pods for what waits and runs, and no forecast."""
        wanted = math.ceil((view.queued + view.running) / self.aims.slots_per_pod)
        most = self.aims.ceiling[0]
        return replace(
            decision,
            pods=min(max(wanted, self.aims.min_pods), most),
            expert="",
            reason="no worker tells how long tasks run, so only what waits and runs counts",
        )

    def _told(self, seen: Seen, decision: Decision, basis: str) -> Answer:
        view = seen.view
        present = view.pods
        preview = self.aims.preview
        came = view.arrivals + view.announced
        answer = Answer(
            pool=self.name,
            desired=present if preview else decision.pods,
            active=(present if preview else decision.pods) > 0,
            advised=decision.pods,
            basis=basis,
            reason=decision.reason,
            at=view.now,
            preview=preview,
            ready=seen.pods.ready,
            starting=len(seen.pods.starting),
            terminating=seen.pods.terminating,
            queued=view.queued,
            running=view.running,
            delayed=seen.delayed,
            arrivals=came,
            load=came * (self._lately.service_time or self.aims.service_time) / TICK,
            slots_per_pod=self.aims.slots_per_pod,
            decision=decision,
        )
        self._log(answer)
        self._answer = answer
        return answer

    def _log(self, answer: Answer) -> None:
        last = self._answer
        if last is not None and (last.advised, last.basis) == (answer.advised, answer.basis):
            return
        would = "would ask for" if answer.preview else "asks for"
        logger.info(
            "Pool %s %s %d pods (%d ready, %d starting), %s: %s",
            self.name,
            would,
            answer.advised,
            answer.ready,
            answer.starting,
            answer.basis,
            answer.reason,
        )
