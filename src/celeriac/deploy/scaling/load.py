"""Load as it arrives at a pool: a rate that changes, and bursts that were announced."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from celeriac.core.errors import ConfigurationError
from celeriac.deploy.scaling.view import TICK

__all__ = ["Burst", "Floats", "Integers", "Load", "read_trace"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Burst(NamedTuple):
    """Tasks that arrive together and were announced."""

    at: float  #: seconds from the start of the load
    work: float  #: its share of the load, in any unit that the rate has as well, times seconds
    seconds: float  #: over how long they arrive
    announced: float  #: from when on somebody can know of them
    entry: str = ""  #: the beat entry that makes them; of those only the time is announced


class Load(NamedTuple):
    """Tasks a second for every tick, and bursts, so scaled that they keep a given number of slots busy."""

    rates: Floats  #: tasks a second that nobody announces, one for each tick
    bursts: tuple[Burst, ...]  #: their work is in tasks

    @classmethod
    def scaled(
        cls, shape: Floats, bursts: tuple[Burst, ...], *, mean_load: float, service_time: float
    ) -> Load:
        """Return the load of this shape that keeps ``mean_load`` slots busy on average."""
        whole = float(shape.sum()) * TICK + sum(burst.work for burst in bursts)
        if whole <= 0:
            raise ConfigurationError("the trace holds no load: its values must not all be 0")
        factor = mean_load / service_time * len(shape) * TICK / whole
        return cls(shape * factor, tuple(burst._replace(work=burst.work * factor) for burst in bursts))

    @property
    def ticks(self) -> int:
        return len(self.rates)

    def burst_counts(self) -> Integers:
        """Return for every tick how many tasks of bursts arrive in it."""
        edges = np.arange(self.ticks + 1) * TICK
        counts = np.zeros(self.ticks, dtype=np.int64)
        for burst in self.bursts:
            first = int(burst.at // TICK)
            last = min(self.ticks, int((burst.at + burst.seconds) // TICK) + 1)
            if first >= last:
                continue
            part = np.clip((edges[first : last + 1] - burst.at) / burst.seconds, 0.0, 1.0)
            counts[first:last] += np.diff(np.rint(part * burst.work).astype(np.int64))
        return counts

    def demand(self) -> Floats:
        """Return for every tick how many tasks a second arrive, announced or not."""
        return self.rates + self.burst_counts() / TICK


def read_trace(path: Path) -> Floats:
    """Return the shape of a load for every tick, from a CSV file (``.gz`` or not) of times and values.

    Times are seconds since 1970 or ISO dates; between two points the shape runs straight. Raises
    :class:`ConfigurationError` for a file that is no such trace.
    """
    try:
        points = sorted(_points(path))
    except OSError as error:
        raise ConfigurationError(f"the trace {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no trace of two columns, time and value: {error}") from None
    if len(points) < 3:
        raise ConfigurationError(f"the trace {path} needs three points at least")
    times, values = np.array(points).T
    middles = np.arange(times[0], times[-1], TICK) + TICK / 2
    shape: Floats = np.clip(np.interp(middles, times, values), 0.0, None)
    return shape


def _points(path: Path) -> Iterator[tuple[float, float]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = csv.reader(file)
        for number, row in enumerate(rows):
            if not row or (number == 0 and not _is_number(row[1])):
                continue
            yield _seconds(row[0]), float(row[1])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(text: str) -> float:
    if _is_number(text):
        return float(text)
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
