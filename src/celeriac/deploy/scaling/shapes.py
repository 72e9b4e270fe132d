"""Loads of the shapes that Celery makes, generated: steady days, beat, ETAs, storms of retries.

No public trace has them. Everything is drawn from a seed, so that a load can be had again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.deploy.scaling.load import Burst, Floats
from celeriac.deploy.scaling.view import TICK

__all__ = ["SHAPES", "generate"]

_DAY = 86_400.0
Shape = tuple[Floats, tuple[Burst, ...]]


def _days(days: int, random: np.random.Generator, swing: float = 0.45) -> Floats:
    """A smooth day and night with a mean of 1, whose level wanders by some percent."""
    moments = np.arange(int(days * _DAY / TICK)) * TICK
    wave = 1 + swing * np.sin(2 * np.pi * (moments / _DAY - 0.3)) + 0.1 * np.sin(4 * np.pi * moments / _DAY)
    steps = random.normal(0, 0.01, len(moments) // 40 + 2)
    wander = np.exp(np.interp(moments / (40 * TICK), np.arange(len(steps)), np.cumsum(steps) * 0.5))
    return np.asarray(wave * wander, dtype=np.float64)


def smooth(days: int, random: np.random.Generator) -> Shape:
    """Days and nights, nothing else."""
    return _days(days, random), ()


def beat(days: int, random: np.random.Generator) -> Shape:
    """Half of the load is fanned out by beat: every ten minutes, every hour, and a batch each night."""
    bursts = []
    for name, every, offset, share, seconds in (
        ("ten-minutes", 600.0, 0.0, 0.10, 20.0),
        ("hourly", 3600.0, 300.0, 0.15, 120.0),
        ("nightly", _DAY, 7200.0, 0.25, 1800.0),
    ):
        for at in np.arange(offset, days * _DAY - seconds, every):
            size = share * every * float(random.lognormal(-0.005, 0.1))
            bursts.append(Burst(float(at), size, seconds, 0.0, name))
    return _days(days, random) * 0.5, tuple(sorted(bursts))


def eta(days: int, random: np.random.Generator) -> Shape:
    """Half of the load was sent with an ETA, for round times and in amounts that no season tells."""
    bursts = []
    for at in np.arange(3600.0, days * _DAY - 600, 300.0):
        if random.random() < 0.5:
            size = 0.5 * 600.0 * float(random.lognormal(-0.18, 0.6))
            bursts.append(Burst(float(at), size, 60.0, float(at) - float(random.uniform(600, 3600))))
    return _days(days, random) * 0.5, tuple(bursts)


def retry_storm(days: int, random: np.random.Generator) -> Shape:
    """Two outages a day of what the tasks call; what failed comes back after 4 and 12 minutes."""
    rates = _days(days, random)
    bursts = []
    for day in range(days):
        for _outage in range(2):
            begin = day * _DAY + float(random.uniform(0, _DAY - 3600))
            for minute in range(int(random.uniform(4, 15))):
                failed_at = begin + 60.0 * minute
                size = float(rates[int(failed_at // TICK)]) * 60.0
                for share, delay in ((0.8, 240.0), (0.4, 720.0)):
                    bursts.append(Burst(failed_at + delay, size * share, 60.0, failed_at + 60.0))
    return rates, tuple(sorted(bursts))


SHAPES: Mapping[str, Callable[[int, np.random.Generator], Shape]] = {
    "smooth": smooth,
    "beat": beat,
    "eta": eta,
    "retry-storm": retry_storm,
}


def generate(name: str, *, days: int, seed: int) -> Shape:
    """Return the shape and bursts of the generated load with this name.

    Raises :class:`ConfigurationError` for a name that is not in :data:`SHAPES`.
    """
    if name not in SHAPES:
        raise ConfigurationError(
            f"no generated load is called {name!r}{did_you_mean(name, SHAPES)} (known: {', '.join(SHAPES)})"
        )
    return SHAPES[name](days, np.random.default_rng(seed))
