"""Decides how many pods there should be: forecast, known demand, backlog and feedback in one sum.

Pure: what it sees is handed in, and time with it. Its answer comes with its reasons.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.caution import Caution
from celeriac.deploy.scaling.drain import Work, slots_to_work_off
from celeriac.deploy.scaling.forecast import QUANTILES, Forecaster
from celeriac.deploy.scaling.known import FanOut, arrivals_ahead
from celeriac.deploy.scaling.load import Floats
from celeriac.deploy.scaling.staffing import slots_for
from celeriac.deploy.scaling.steps import Steps
from celeriac.deploy.scaling.view import TICK, View

__all__ = ["Brain", "Decision"]

_LATE = 1e-4  # share of tasks that chance alone may make late
_CHANCE_WAIT, _WORST_WAIT, _BURST_WAIT = 0.5, 0.5, 0.25  # of the objective; bursts are announced
_ALERT_WAIT = 0.3
_ALERT = 0.3  # of the objective, that who arrives now will wait
_FORESEEN = 0.6  # of the objective, that who arrives after the lead time will wait at today's rate
_RISING = 1.3  # by how much a rate that has taken everybody by surprise may still grow
_WORSE = 2.0  # quantiles further up than what is held for good
_MORE = 0.05  # of a burst, for each step of caution
_BOLD, _BOLDEST = -0.5, -0.7  # steps of caution below the median, for short runs and for long ones
_LONG_RUN = 0.2  # of the objective
_FURTHER = 8  # ticks that are looked at beyond the lead time
_MEMORY = 2000.0  # tasks after which an old run time counts half


@dataclass(frozen=True)
class Decision:
    """How many pods there should be, and why; all but pods in slots."""

    pods: int
    load: float = 0.0  #: that unannounced tasks are expected to keep busy, at the quantile in use
    quantile: float = 0.5
    median: float = 0.0  #: that they are expected to keep busy as likely as not
    margin: float = 0.0  #: for chance in single arrivals and run times
    urgent: float = 0.0  #: for backlog, announced bursts and a bad course of events
    backlog: float = 0.0  #: seconds that a task that arrives now would wait
    lead: float = 0.0  #: seconds that a pod is expected to take
    expert: str = ""  #: whose forecast it is
    reason: str = ""


class Brain:
    """One pool's memory, and its decisions."""

    def __init__(self, aims: Aims) -> None:
        self.aims = aims
        self._forecaster = Forecaster(_CHANCE_WAIT * aims.objective / TICK)
        self._fan_out = FanOut()
        self._run_times = _RunTimes(aims.service_time)
        self._caution = Caution(len(QUANTILES) - 3.0)
        self._steps = Steps(aims.slots_per_pod)
        self._lead_times: deque[float] = deque(maxlen=200)
        self._lead = aims.startup
        self._last_task = -math.inf
        self._last_burst = -math.inf  #: that was announced

    def decide(self, view: View) -> int:
        """Return how many pods there should be from now on."""
        decision = self.explain(view)
        return view.pods if self.aims.preview else decision.pods

    def explain(self, view: View) -> Decision:
        """Return the decision with its reasons; to be asked for once a tick, instead of :meth:`decide`."""
        if view.started:
            self._lead_times.extend(view.started)
            self._lead = float(np.quantile(self._lead_times, 0.98))
        if not view.metrics:
            return Decision(view.pods, reason="the metrics could not be read: nothing changes")
        self._learn(view)
        service, cv = self._run_times.mean, self._run_times.cv
        self._steps.hurry(self._lead + service)
        ahead = math.ceil((self._lead + TICK) / TICK) + 1
        peaks = self._forecaster.peak(ahead, self._width()) * service / TICK
        dearest = self._forecaster.affordable(self.aims.premium)
        index = min(max(self._caution.level, 0.0), dearest)
        load = max(_at(peaks, index), self._forecaster.at_least() * service / TICK)
        wait = _CHANCE_WAIT * self.aims.objective
        margin = max(slots_for(round(load, 1), round(service, 2), round(cv, 1), wait, _LATE) - load, 0.0)
        margin *= min(1.0 + self._caution.level, 1.0)
        worst = _at(peaks, min(self._caution.level + _WORSE, dearest))
        if view.now - self._last_task > self._steps.hold:
            load, margin = self._forecaster.yesterday(ahead, self._width()) * service / TICK, 0.0
            worst = load
        if view.announced or any(due.at <= view.now + ahead * TICK for due in view.due):
            self._last_burst = view.now
        brief = view.now - self._last_burst <= self._steps.hold
        urgent = self._urgent(view, worst, service, ahead, _BURST_WAIT if brief else _ALERT_WAIT)
        wanted = self._steps.pods(
            view.now, view.pods, load + margin, urgent, self._caution.level, brief=brief
        )
        pods, bound = self._bounded(view, wanted)
        return Decision(
            pods,
            load=load,
            quantile=_at(QUANTILES, index),
            median=float(peaks[0]),
            margin=margin,
            urgent=urgent,
            backlog=view.queued * service / max(view.ready * self.aims.slots_per_pod, 1),
            lead=self._lead,
            expert=self._forecaster.believed(round(index)),
            reason=bound or _reason(view.pods, pods, load + margin, urgent),
        )

    def _learn(self, view: View) -> None:
        self._forecaster.add(view.arrivals)
        self._fan_out.learn(view.fired)
        self._run_times.learn(view)
        objective = self.aims.objective
        lowest = _BOLDEST if self._run_times.mean > _LONG_RUN * objective else _BOLD
        self._caution.feel(view.longest_wait, view.late, objective, lowest)
        if view.arrivals or view.announced or view.queued or view.running:
            self._last_task = view.now

    def _width(self) -> int:
        """Ticks over which a rate is taken: a minute, more where that holds few tasks."""
        tasks = self._forecaster.calm * 4
        return 4 if tasks >= 200 else 8 if tasks >= 100 else 20

    def _urgent(self, view: View, load: float, service: float, ahead: int, alert: float) -> float:
        aims = self.aims
        announced = arrivals_ahead(view.due, self._fan_out, view.now, ahead + _FURTHER, ahead * TICK)
        announced *= service * (1 + _MORE * max(self._caution.level, 0.0))
        spare = _BURST_WAIT if announced.any() else _WORST_WAIT
        waiting = view.queued * service
        slots = view.ready * aims.slots_per_pod
        rate, risen = (tasks * service / TICK for tasks in self._forecaster.rise(ahead))
        missing = max(rate - view.pods * aims.slots_per_pod, 0.0) if view.queued else 0.0
        in_time = aims.objective * max(slots, 1)
        if waiting > _ALERT * in_time or waiting + missing * self._lead > _FORESEEN * in_time:
            spare = min(spare, alert)
            load = max(load, _RISING * view.arrivals * service / TICK, risen)
        work = Work(
            waiting=waiting,
            announced=announced,
            load=load,
            load_seconds=ahead * TICK,
            slots=view.pods * aims.slots_per_pod,
            slots_per_pod=aims.slots_per_pod,
            still_to_wait=tuple(max(self._lead - age, 0.0) for age in view.starting),
        )
        needed = slots_to_work_off(work, self._lead, spare * aims.objective)
        if service < spare * aims.objective:
            return needed
        present = view.running + view.queued
        left = present * math.exp(-self._lead / service)
        at_once = max(present, left + load) + math.sqrt(load) + float(announced.sum()) / service
        return min(needed, at_once)  # with a slot for every task there will be, none waits

    def _bounded(self, view: View, wanted: int) -> tuple[int, str]:
        least = self.aims.min_pods
        if least == 0 and view.now - self._last_task <= self._steps.hold:
            least = 1
        most, cap = self.aims.ceiling
        if wanted > most:
            return most, f"{wanted} pods are needed, {cap} allows {most}"
        return max(wanted, least), ""


class _RunTimes:
    """Mean and spread of what tasks take, the last thousands of them."""

    def __init__(self, guess: float) -> None:
        self._tasks = 1.0
        self._seconds = guess
        self._squares = 2 * guess * guess

    def learn(self, view: View) -> None:
        fade = 0.5 ** (view.finished / _MEMORY)
        self._tasks = self._tasks * fade + view.finished
        self._seconds = self._seconds * fade + view.run_seconds
        self._squares = self._squares * fade + view.run_seconds_squared

    @property
    def mean(self) -> float:
        """In seconds."""
        return max(self._seconds / self._tasks, 1e-3)

    @property
    def cv(self) -> float:
        """The standard deviation in means."""
        return math.sqrt(max(self._squares / self._tasks / self.mean**2 - 1.0, 0.0))


def _at(values: Floats, index: float) -> float:
    return float(np.interp(index, np.arange(len(values)), values))


def _reason(present: int, pods: int, steady: float, urgent: float) -> str:
    if pods > present:
        return "work to be done in time" if urgent > steady else "the load to expect"
    return "less is needed for some time" if pods < present else "as it should be"
