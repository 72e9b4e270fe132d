"""Whether a series of measurements grows: what is pure and can be shown to judge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import inf
from statistics import median

import msgspec

__all__ = [
    "LIMITS",
    "SHORTEST",
    "Finding",
    "Limit",
    "Point",
    "by_life",
    "by_minute",
    "judge",
    "slope",
    "warm_up",
]

#: Seconds since the start, and what was measured.
Point = tuple[float, float]

#: Seconds that are left out at the start, in which modules are imported and buffers and caches fill.
_WARM_UP = 300.0
#: Seconds after the warm-up without which nothing is judged: noise is as large as a trend.
SHORTEST = 600.0


class Limit(msgspec.Struct, frozen=True):
    """How much a quantity may grow, by an hour or between the first and the last quarter."""

    unit: str
    by_the_hour: float | None = None
    in_all: float | None = None


#: Why: a process of this load runs 20,000 tasks an hour or more. Whatever keeps the id of each of
#: them (85 bytes) in a dict or list grows by 2 to 4 MiB in that time.
_MEMORY = Limit("KiB", by_the_hour=2048)
LIMITS = {
    "memory": _MEMORY,
    "shared out": Limit("KiB", by_the_hour=5 * 2048),  # of five processes
    "keys": Limit("", by_the_hour=600),  # one in ten calls of the rarest kind, if it left a key behind
    "descriptors": Limit("", in_all=2),  # a connection that happens to be open
    "threads": Limit("", in_all=1),
}


class Finding(msgspec.Struct, frozen=True):
    """What became of one quantity of one part; ``flat`` is None where the run was too short to tell."""

    part: str
    quantity: str
    first: float
    last: float
    most: float
    growth: float
    limit: float
    flat: bool | None


def warm_up(seconds: float) -> float:
    """How much of a run of so many seconds is left out at its start."""
    return min(_WARM_UP, seconds / 4)


def judge(part: str, quantity: str, points: Sequence[Point], seconds: float) -> Finding | None:
    """Judge what was measured after the warm-up in a run of so many seconds; None if there is too little."""
    judged = [point for point in points if point[0] >= warm_up(seconds)]
    if len(judged) < 4:
        return None
    limit = LIMITS[quantity]
    quarter = len(judged) // 4
    first, last = (median(value for _, value in some) for some in (judged[:quarter], judged[-quarter:]))
    growth = last - first if limit.by_the_hour is None else 3600 * slope(judged)
    allowed = limit.in_all if limit.by_the_hour is None else limit.by_the_hour
    assert allowed is not None
    long_enough = judged[-1][0] - judged[0][0] >= SHORTEST
    return Finding(
        part,
        quantity,
        first,
        last,
        max(value for _, value in judged),
        growth,
        allowed,
        growth <= allowed if long_enough else None,
    )


def slope(points: Sequence[Point]) -> float:
    """The median of the slopes between all pairs (Theil and Sen): a quarter of the points may be anything."""
    return median((after - before) / (then - now) for (now, before), (then, after) in combinations(points, 2))


def by_life(points: Sequence[Point], began: Sequence[float]) -> Sequence[Point]:
    """Where many processes followed each other, one point for each: the median of its life."""
    if len(began) < 8:
        return points
    lives = [[p for p in points if since <= p[0] < until] for since, until in pairwise([*began, inf])]
    return [(median(at for at, _ in life), median(value for _, value in life)) for life in lives if life]


def by_minute(points: Sequence[Point]) -> list[float]:
    """The median of each minute, for those who look at the figures."""
    minutes: dict[int, list[float]] = {}
    for at, value in points:
        minutes.setdefault(int(at // 60), []).append(value)
    return [median(values) for values in minutes.values()]
