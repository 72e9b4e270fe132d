"""Who may start now, and who is told to come back when: pure rules, shared by all stores.

A gate is one limit for one key: starts in a window of time, or tasks that run at once. Whoever is
refused joins its line, and is told when its turn is likely to come. While somebody in the line is
overdue, newcomers join it too, so that they do not pass; whoever comes back from the line takes any
free place. Nobody is woken: a message waits in the broker, delayed.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

__all__ = ["CELLS", "FORGET_AFTER", "Facts", "Gate", "Verdict", "cell_of", "judge", "learn"]

#: A window is counted in so many cells and the one that has begun, so it never holds too many.
CELLS: Final = 100
#: Seconds a refused task waits at most before it asks again, and at least.
LONGEST: Final = 30.0
SHORTEST: Final = 0.02
#: How long somebody who waits for a running task to end waits at most: this, and more for each before it.
_FIRST_LOOKS_EVERY: Final = 1.0
_EACH_LATER: Final = 0.05
#: Seconds after its turn at which somebody who did not come back is forgotten.
FORGET_AFTER: Final = 60.0
#: Seconds a task runs, as long as nothing is known of it.
UNKNOWN: Final = 1.0
#: The weight of the latest running time among all earlier ones.
_NEWEST: Final = 0.2


class Gate(msgspec.Struct, frozen=True):
    """One limit: ``limit`` starts in any ``window`` seconds or, with ``lease``, ``limit`` at a time."""

    key: str
    limit: int
    window: float | None = None
    #: Seconds after which a holder that was not renewed is gone.
    lease: float = 0.0


class Facts(msgspec.Struct, frozen=True):
    """What a store knows about a gate when somebody asks to pass."""

    #: Starts in the window, or others that run.
    used: int
    #: Unix seconds at which the oldest start leaves the window; None for what runs at once.
    next_free: float | None
    #: Seconds that tasks run lately; None if none has ended.
    typical: float | None
    #: Whether it stands in the line, how many stand before it, and how many others are overdue.
    waits: bool
    rank: int
    overdue: int


class Verdict(msgspec.Struct, frozen=True):
    """Whether somebody may pass; if not, the Unix seconds at which to ask again."""

    passes: bool
    due: float = 0.0


def cell_of(now: float, window: float) -> int:
    """Return the number of the cell that the time falls into."""
    return math.floor(now * CELLS / window)


def cell_leaves(cell: int, window: float) -> float:
    """Return the time from which no window that ends then holds anything of the cell."""
    return (cell + CELLS + 1) * window / CELLS


def learn(typical: float | None, ran: float) -> float:
    """Return how long tasks run lately, one more of them having run for ``ran`` seconds."""
    return ran if typical is None else typical + (ran - typical) * _NEWEST


def judge(gate: Gate, facts: Facts, now: float, chance: float) -> Verdict:
    """Say whether somebody passes; ``chance`` from 0 to 1 spreads out those who have to come back."""
    free = gate.limit - facts.used
    if free > 0 and (facts.waits or facts.overdue < free):
        return Verdict(True)
    if gate.window is not None:
        pace = gate.window / gate.limit
        first = max(facts.next_free - now, 0.0) if facts.next_free is not None and free <= 0 else 0.0
        longest = LONGEST
    else:
        pace = (UNKNOWN if facts.typical is None else facts.typical) / gate.limit
        first = pace
        longest = min(LONGEST, _FIRST_LOOKS_EVERY + _EACH_LATER * facts.rank)
    wait = first + facts.rank * pace
    wait = longest * (0.5 + chance / 2) if wait > longest else wait * (1 + chance / 10)
    return Verdict(False, now + max(wait, SHORTEST))
