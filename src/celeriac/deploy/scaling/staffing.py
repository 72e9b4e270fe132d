"""How many slots a steady load needs so that hardly any task waits too long.

Erlang's delay formula in the limit of Halfin and Whitt (1981), which the rule "load plus a multiple of
its square root" comes from, with the tail of the wait by Allen and Cunneen for run times that vary.
"""

from __future__ import annotations

import math
from functools import lru_cache

__all__ = ["late_share", "slots_for"]

_ROOT_TWO_PI = math.sqrt(2 * math.pi)


def late_share(slots: float, load: float, service_time: float, cv: float, wait: float) -> float:
    """Return the share of tasks that wait longer than ``wait`` seconds.

    ``load`` is the number of slots that the tasks keep busy on average; 1.0 where the slots cannot keep up.
    """
    if load <= 0:
        return 0.0
    spare = slots - load
    if spare <= 0:
        return 1.0
    beta = spare / math.sqrt(load)
    density = math.exp(-beta * beta / 2) / _ROOT_TWO_PI
    below = 0.5 * (1 + math.erf(beta / math.sqrt(2)))
    delayed = 1.0 / (1.0 + beta * below / density) if density > 0 else 0.0
    return delayed * math.exp(-2 * spare * wait / (service_time * (1 + cv * cv)))


@lru_cache(maxsize=65_536)
def slots_for(load: float, service_time: float, cv: float, wait: float, share: float) -> float:
    """Return the fewest slots, not rounded, at which no more than ``share`` of the tasks wait longer."""
    if load <= 0:
        return 0.0
    low, high = load, load + 8 * math.sqrt(load) + 8
    for _halving in range(24):
        middle = (low + high) / 2
        if late_share(middle, load, service_time, cv, wait) > share:
            low = middle
        else:
            high = middle
    return high
