"""The greatest rate to expect over the time a pod takes to start, as a quantile, from several experts.

Each expert names a number; how far the truth has exceeded it before makes quantiles of it (online, as in
adaptive conformal prediction); and the expert whose quantiles have cost least by pinball loss is believed.
"""

from __future__ import annotations

import math

import numpy as np

from celeriac.deploy.scaling.load import Floats
from celeriac.deploy.scaling.view import TICK

__all__ = ["EXPERTS", "QUANTILES", "Forecaster"]

#: For which shares of the time the truth shall stay below.
QUANTILES = np.array([0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998])
EXPERTS = (
    "level",
    "calm level",
    "trend of 2 minutes",
    "trend of 5 minutes",
    "trend of 15 minutes",
    "yesterday, at today's level",
    "three days, at today's level",
    "greatest of three days",
    "last week, at today's level",
    "greatest of three hours",
    "greatest of the last hour",
    "an ordinary day",
    "last tick",
)
_HOUR, _DAY, _WEEK = (int(seconds / TICK) for seconds in (3600, 86_400, 604_800))
_KEPT = 28 * _DAY
_STRIDE = 2  # every so many ticks an error is kept
_ERRORS = 2 * _DAY // _STRIDE  # errors of two days
_RENEW = 20  # errors after which quantiles are taken anew
_MEMORY = 0.5 ** (1 / (_DAY / 2))  # of losses: half a day
_LEVEL = 60  # ticks over which today's level is compared with another day's


class Forecaster:
    """Counts of tasks go in, tick by tick; a quantile of the peak over the next ticks comes out."""

    def __init__(self, spare: float = 0.0) -> None:
        """``spare`` is how many ticks work may wait."""
        self._spare = spare
        self._sums = np.zeros(4096)
        self._seen = 0
        self._pending: list[tuple[int, int, Floats]] = []
        shape = (len(EXPERTS), len(QUANTILES))
        self._excess = np.tile(0.02 + 0.3 * np.square(QUANTILES), (len(EXPERTS), 1))
        self._loss = np.zeros(shape)
        self._errors = np.zeros((_ERRORS, len(EXPERTS)))
        self._learnt = 0
        self._peaks = np.zeros(_HOUR)  # of the last hour
        self._calm = 0.0
        self._usual = np.ones(len(QUANTILES)) * 1e-3

    @property
    def seen(self) -> int:
        """Ticks so far."""
        return self._seen

    @property
    def calm(self) -> float:
        """The mean of tasks a tick over the last minutes."""
        return self._calm

    def add(self, tasks: float) -> None:
        """Take in how many tasks arrived in one tick."""
        if self._seen >= 2 * _KEPT:
            self._forget(_KEPT)
        if self._seen + 1 >= len(self._sums):
            self._sums = np.concatenate([self._sums, np.zeros(len(self._sums))])
        self._sums[self._seen + 1] = self._sums[self._seen] + tasks
        self._seen += 1
        self._calm += (tasks - self._calm) * 0.05 if self._seen > 1 else tasks
        while self._pending and self._pending[0][0] <= self._seen:
            self._learn(*self._pending.pop(0)[1:])

    def _forget(self, ticks: int) -> None:
        """Drop the oldest ticks; moments are counted from the new beginning."""
        self._sums = self._sums[ticks:] - self._sums[ticks]
        self._seen -= ticks
        self._pending = [(due - ticks, ahead, guesses) for due, ahead, guesses in self._pending]

    def peak(self, ticks: int, width: int) -> Floats:
        """Return for each of :data:`QUANTILES` the peak to expect over the next ticks, in tasks a tick.

        It is the lowest steady rate at which no task of these ticks waits longer than it may, with all done
        at their end; levels are means over ``width`` ticks.
        """
        ticks = max(ticks, width)
        guesses = self._guesses(ticks, width)
        self._pending.append((self._seen + ticks, ticks, guesses))
        best = self._loss.argmin(axis=0)
        columns = np.arange(len(QUANTILES))
        quantiles = np.maximum.accumulate(guesses[best] * np.exp(self._excess[best, columns]))
        self._usual += (quantiles - self._usual) / min(self._seen + 1, _DAY)
        return quantiles

    def yesterday(self, ticks: int, width: int) -> float:
        """Return the peak of the same time yesterday; 0 where that is not known."""
        return self._peak(self._seen - _DAY, max(ticks, width)) if self._seen >= _DAY + width else 0.0

    def rise(self, ticks: int) -> tuple[float, float]:
        """Return the rate of the last two ticks, and where a rise of the last two minutes leads to."""
        now = self._seen
        level, back = self._mean(now, 4), 8
        slope = (level - self._mean(now - back, 4)) / back if now > back + 4 else 0.0
        return self._mean(now, 2), level + max(slope, 0.0) * ticks

    def at_least(self) -> float:
        """Return the rate that the last minute is sure to have had, in tasks a tick: by two deviations."""
        tasks = self._mean(self._seen, 4) * 4
        return max(tasks - 2 * math.sqrt(tasks), 0.0) / 4

    def affordable(self, premium: float) -> float:
        """Return up to which quantile, as an index, forecasts cost on average at most ``premium`` medians."""
        ratios = self._usual / max(float(self._usual[0]), 1e-9)
        return float(np.interp(premium, ratios, np.arange(len(QUANTILES))))

    def believed(self, quantile: int) -> str:
        """Return the name of the expert that the quantile with this index comes from."""
        return EXPERTS[int(self._loss[:, quantile].argmin())]

    def _peak(self, begin: int, ticks: int) -> float:
        """The lowest steady rate of work with which the tasks of these ticks can be done in time."""
        done = self._sums[begin + 1 : begin + ticks + 1] - self._sums[begin]
        in_time = done / (np.arange(1, ticks + 1) + self._spare)
        return max(float(in_time.max()), float(done[-1]) / ticks)

    def _mean(self, at: int, width: int) -> float:
        begin = max(at - width, 0)
        return float(self._sums[at] - self._sums[begin]) / max(at - begin, 1)

    def _guesses(self, ticks: int, width: int) -> Floats:
        now = self._seen
        level = self._mean(now, width)
        guesses = np.full(len(EXPERTS), level)
        guesses[1] = self._calm
        for index, back in ((2, 8), (3, 20), (4, 60)):
            if now > back + width:
                slope = (level - self._mean(now - back, width)) / back
                guesses[index] = max(level, level + slope * ticks)
        days = [day for day in (1, 2, 3) if now >= day * _DAY + _LEVEL]
        if days:
            peaks = [self._peak(now - day * _DAY, ticks) for day in days]
            scaled = [peak * self._ratio(day * _DAY) for day, peak in zip(days, peaks, strict=True)]
            guesses[5] = scaled[0]
            guesses[6] = sum(scaled) / len(scaled)
            guesses[7] = max(peaks)
        if now >= _WEEK + _LEVEL:
            guesses[8] = self._peak(now - _WEEK, ticks) * self._ratio(_WEEK)
        if now >= 3 * _HOUR + width:
            guesses[9] = max(self._peak(now - hours * _HOUR, ticks) for hours in (1, 2, 3))
        if now > _HOUR + width:
            guesses[10] = self._peaks.max()
        guesses[12] = max(level, self._mean(now, 1))
        guesses[11] = self._mean(now, _DAY)
        guesses[:] = np.clip(guesses, 1e-3, None)
        return guesses

    def _ratio(self, ago: int) -> float:
        then = self._mean(self._seen - ago, _LEVEL)
        today = self._mean(self._seen, _LEVEL)
        return min(max(today / then, 0.25), 4.0) if then > 0 else 1.0

    def _learn(self, ticks: int, guesses: Floats) -> None:
        """Compare what was guessed ``ticks`` ago with what came."""
        truth = self._peak(self._seen - ticks, ticks)
        self._peaks[self._seen % _HOUR] = truth
        excess = np.log(max(truth, 1e-3) / guesses)
        given = guesses[:, None] * np.exp(self._excess)
        over = truth - given
        loss = np.where(over > 0, QUANTILES * over, (QUANTILES - 1) * over)
        self._loss = self._loss * _MEMORY + loss / max(self._calm, 1e-3)
        if self._seen % _STRIDE == 0:
            self._errors[self._learnt % _ERRORS] = excess
            self._learnt += 1
            if self._learnt % _RENEW == 0:
                self._renew()

    def _renew(self) -> None:
        """Take the quantiles of each expert's errors anew."""
        known = min(self._learnt, _ERRORS)
        ordered = np.sort(self._errors[:known], axis=0)
        self._excess = ordered[np.minimum((QUANTILES * known).astype(int), known - 1)].T
