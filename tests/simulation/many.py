"""Many schedules in several processes, and what they add up to."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

import msgspec

from tests.simulation.schedule import OpenBroker, Outcome, memory_broker, run_schedule
from tests.simulation.virtual_library import VirtualLibrary, installed

__all__ = ["Totals", "first_violation", "run_many", "trace_of"]

_CHUNK = 50
_EXTREMES = ("messages", "starts", "repeats", "dead", "seconds")


class Totals(msgspec.Struct):
    """What so many schedules came to."""

    schedules: int = 0
    messages: int = 0
    starts: int = 0
    repeats: int = 0
    done: int = 0
    dead: int = 0
    #: Virtual seconds.
    seconds: float = 0.0
    injected: Counter[str] = msgspec.field(default_factory=Counter)
    steps: Counter[str] = msgspec.field(default_factory=Counter)
    #: The least and the most of one schedule.
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    #: Broken promises by seed.
    violations: dict[int, str] = {}

    def add(self, one: Outcome) -> None:
        """Count a schedule."""
        self.schedules += 1
        for name in ("messages", "starts", "repeats", "done", "dead", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(one, name))
        self.injected.update(one.injected)
        self.steps.update(one.steps)
        self._stretch(
            {name: getattr(one, name) for name in _EXTREMES}, {name: getattr(one, name) for name in _EXTREMES}
        )
        if one.violation is not None:
            self.violations[one.seed] = one.violation

    def merge(self, other: Totals) -> None:
        """Count the schedules that another has counted."""
        for name in ("schedules", "messages", "starts", "repeats", "done", "dead", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.injected.update(other.injected)
        self.steps.update(other.steps)
        self._stretch(other.least, other.most)
        self.violations |= other.violations

    def _stretch(self, least: dict[str, float], most: dict[str, float]) -> None:
        for name in _EXTREMES:
            self.least[name] = min(self.least.get(name, least[name]), least[name])
            self.most[name] = max(self.most.get(name, most[name]), most[name])

    def as_json(self) -> dict[str, Any]:
        """Return it in the order of its fields, what was counted by name with the most frequent first."""
        plain: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return {**plain, **{name: dict(Counter(plain[name]).most_common()) for name in ("injected", "steps")}}


def run_many(first: int, count: int, processes: int = 1) -> Iterator[Totals]:
    """Yield what each few schedules came to, beginning with the seed ``first``; those in any order."""
    chunks = [
        range(start, min(start + _CHUNK, first + count)) for start in range(first, first + count, _CHUNK)
    ]
    if processes == 1:
        yield from map(_run_chunk, chunks)
        return
    with get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_run_chunk, chunks)


def _run_chunk(seeds: range) -> Totals:
    library, totals = VirtualLibrary(), Totals()
    with _collecting_at_the_end(), installed(library):
        for seed in seeds:
            totals.add(run_schedule(seed, library))
    return totals


@contextmanager
def _collecting_at_the_end() -> Iterator[None]:
    """Look for cycles once, and not all the time: every schedule is one."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


def first_violation(seeds: range, open_broker: OpenBroker = memory_broker) -> Outcome | None:
    """Return the first schedule of these that breaks a promise, or None."""
    library = VirtualLibrary()
    with installed(library):
        outcomes = map(partial(run_schedule, library=library, open_broker=open_broker), seeds)
        return next((outcome for outcome in outcomes if outcome.violation is not None), None)


def trace_of(seed: int) -> tuple[list[str], Outcome]:
    """Run the schedule of this seed again; return what happened in it, line by line, and its outcome."""
    library = VirtualLibrary()
    trace: list[tuple[float, str, str]] = []
    with installed(library):
        outcome = run_schedule(seed, library, trace=trace)
    return [f"{at:8.3f} s  {who:22} {what}" for at, who, what in trace], outcome
