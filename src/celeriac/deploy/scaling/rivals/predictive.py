"""Predictive autoscalers: PredictiveHorizontalPodAutoscaler's two models, and Crane's maxValue.

All predict the metric that the autoscaler below them reads, here the tasks that run and wait, and hand
it the greater of the prediction and the present. Sources: jthomperoo/predictive-horizontal-pod-autoscaler
(linear regression, Holt-Winters, decision type maximum) and gocrane/crane (pkg/prediction/dsp, maxValue).
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from celeriac.deploy.scaling.rivals.hpa import Behaviour, Hpa
from celeriac.deploy.scaling.simulation import Conditions
from celeriac.deploy.scaling.view import TICK, View

__all__ = ["Crane", "HoltWinters", "Linear"]

_MINUTE = 60.0
_DAY = 1440


class _Predicting:
    """An autoscaler on the greater of the metric and what is predicted for it, minute by minute."""

    def __init__(self, conditions: Conditions, target: float, behaviour: Behaviour) -> None:
        """``target`` is the share of a pod's slots that should have a task."""
        self._target = target * conditions.slots_per_pod
        self._hpa = Hpa(behaviour)
        self._samples: list[float] = []
        self._minute = 0
        self._predicted = 0.0

    def decide(self, view: View) -> int:
        if not view.metrics:
            return self._hpa.step(view.now, view.pods, None, self._target)
        metric = float(view.queued + view.running)
        self._samples.append(metric)
        if int(view.now // _MINUTE) != self._minute:
            self._minute = int(view.now // _MINUTE)
            self._predicted = self.predict(sum(self._samples) / len(self._samples))
            self._samples.clear()
        return self._hpa.step(view.now, view.pods, max(metric, self._predicted), self._target)

    def predict(self, minute: float) -> float:
        """Take in the mean of the last minute, and return what to expect."""
        raise NotImplementedError


class Linear:
    """A straight line through the last samples, drawn on for as long as pods take to start."""

    def __init__(
        self,
        conditions: Conditions,
        *,
        target: float = 0.8,
        history: float = 6.0,
        down_window: float = 300.0,
    ) -> None:
        """``history`` is how many samples, one for each sync, the line goes through."""
        self._target = target * conditions.slots_per_pod
        self._hpa = Hpa(Behaviour(down_window=down_window))
        self._samples: deque[float] = deque(maxlen=int(history))
        self._ahead = (conditions.startup + 30.0) / TICK

    def decide(self, view: View) -> int:
        if not view.metrics:
            return self._hpa.step(view.now, view.pods, None, self._target)
        metric = float(view.queued + view.running)
        self._samples.append(metric)
        return self._hpa.step(view.now, view.pods, max(metric, self._drawn_on()), self._target)

    def _drawn_on(self) -> float:
        count = len(self._samples)
        middle = (count - 1) / 2
        squares = count * (count * count - 1) / 12
        if not squares:
            return 0.0
        slope = sum((at - middle) * sample for at, sample in enumerate(self._samples)) / squares
        return sum(self._samples) / count + slope * (middle + self._ahead)


class HoltWinters(_Predicting):
    """Level, trend and a season of a day, added up, looking as far ahead as pods take to start."""

    def __init__(
        self,
        conditions: Conditions,
        *,
        target: float = 0.8,
        alpha: float = 0.2,
        gamma: float = 0.3,
        beta: float = 0.01,
        down_window: float = 300.0,
    ) -> None:
        super().__init__(conditions, target, Behaviour(down_window=down_window))
        self._alpha, self._beta, self._gamma = alpha, beta, gamma
        self._ahead = math.ceil((conditions.startup + 30.0) / _MINUTE)
        self._level: float | None = None
        self._trend = 0.0
        self._season = np.zeros(_DAY)
        self._seen = 0

    def predict(self, minute: float) -> float:
        if self._level is None:
            self._level = minute
        place = self._seen % _DAY
        season = float(self._season[place])
        before = self._level
        self._level = self._alpha * (minute - season) + (1 - self._alpha) * (self._level + self._trend)
        self._trend = self._beta * (self._level - before) + (1 - self._beta) * self._trend
        weight = self._gamma if self._seen >= _DAY else 1.0
        self._season[place] = weight * (minute - self._level) + (1 - weight) * season
        self._seen += 1
        steps = np.arange(1, self._ahead + 1)
        seasons = self._season[(self._seen + steps - 1) % _DAY]
        return float((self._level + steps * self._trend + seasons).max())


class Crane(_Predicting):
    """The greatest of what was seen at this time of day in the last three days, and a margin."""

    def __init__(
        self,
        conditions: Conditions,
        *,
        target: float = 0.8,
        margin: float = 0.1,
        window: float = 15.0,
        down_window: float = 300.0,
    ) -> None:
        """``window`` is how many minutes ahead of now the greatest value is looked for."""
        super().__init__(conditions, target, Behaviour(down_window=down_window))
        self._margin = margin
        self._window = int(window)
        self._history: list[float] = []

    def predict(self, minute: float) -> float:
        self._history.append(minute)
        now = len(self._history)
        greatest = 0.0
        for days in (1, 2, 3):
            begin = now - days * _DAY
            if begin >= 0:
                greatest = max(greatest, *self._history[begin : begin + self._window])
        return greatest * (1 + self._margin)
