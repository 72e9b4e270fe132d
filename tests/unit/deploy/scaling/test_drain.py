"""Work is done in time with the slots that are asked for, and no slot works before there is work."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.deploy.scaling.drain import Work, slots_to_work_off
from celeriac.deploy.scaling.view import TICK

bursts = st.lists(st.floats(0, 2000), min_size=4, max_size=30)


def work(announced: list[float], *, waiting: float = 0.0, slots: int = 0, load: float = 0.0) -> Work:
    return Work(waiting, np.array(announced), load, 1e9, slots, 4, ())


def longest_queue(announced: list[float], waiting: float, load: float, slots: float) -> float:
    """In slot-seconds, at the end of a tick."""
    longest, queue = 0.0, waiting
    for arriving in announced:
        queue = max(queue + arriving + (load - slots) * TICK, 0.0)
        longest = max(longest, queue)
    return longest


@given(bursts, st.floats(0, 2000), st.floats(0, 50), st.floats(1, 30))
def test_with_slots_that_are_there_nobody_waits_longer(
    announced: list[float], waiting: float, load: float, spare: float
) -> None:
    there = work(announced, waiting=waiting, slots=100_000, load=load)
    needed = slots_to_work_off(there, 45.0, spare)
    assert longest_queue(announced, waiting, load, needed) <= needed * spare + 1e-6
    if needed > 1.0:
        assert longest_queue(announced, waiting, load, needed - 1.0) > (needed - 1.0) * spare - 1e-6


@pytest.mark.parametrize("ahead", range(4, 20))
def test_a_burst_needs_as_much_however_far_it_is(ahead: int) -> None:
    announced = [0.0] * ahead + [900.0] + [0.0] * 8
    assert slots_to_work_off(work(announced, slots=1000), 45.0, 3.0) == pytest.approx(900 / (TICK + 3))
    assert slots_to_work_off(work(announced, slots=8), 45.0, 3.0) == pytest.approx(900 / (TICK + 3))


def test_pods_under_way_are_not_asked_for_twice() -> None:
    announced = [0.0] * 6 + [600.0] + [0.0] * 8
    alone = slots_to_work_off(work(announced, slots=4), 60.0, 5.0)
    under_way = Work(0.0, np.array(announced), 0.0, 0.0, 4 + 4 * 8, 4, (45.0,) * 8)
    assert slots_to_work_off(under_way, 60.0, 5.0) == pytest.approx(alone)
