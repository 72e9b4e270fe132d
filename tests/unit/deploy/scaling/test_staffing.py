"""Square-root staffing against Erlang's formula, and its order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.deploy.scaling.staffing import late_share, slots_for


def erlang(slots: int, load: float) -> float:
    """Erlang's own formula for the share of tasks that wait at all."""
    blocked = 1.0
    for servers in range(1, slots + 1):
        blocked = load * blocked / (servers + load * blocked)
    return slots * blocked / (slots - load * (1 - blocked))


@pytest.mark.parametrize(("slots", "load"), [(31, 24.0), (27, 24.0), (110, 100.0)])
def test_who_waits_at_all_is_as_erlang_says(slots: int, load: float) -> None:
    assert late_share(slots, load, 2.0, 1.0, 0.0) == pytest.approx(erlang(slots, load), rel=0.2)


def test_slots_that_cannot_keep_up_make_everybody_late() -> None:
    assert late_share(10, 10.0, 2.0, 1.0, 30.0) == 1.0
    assert late_share(0, 0.0, 2.0, 1.0, 30.0) == 0.0


@given(
    st.floats(0.1, 500),
    st.floats(0.05, 60),
    st.floats(0, 3),
    st.floats(1, 300),
    st.sampled_from([1e-2, 1e-4]),
)
def test_the_slots_are_enough_and_not_many_more(
    load: float, service: float, cv: float, wait: float, share: float
) -> None:
    slots = slots_for(load, service, cv, wait, share)
    assert slots > load
    if slots < load + 8 * math.sqrt(load) + 7.9:
        assert late_share(slots, load, service, cv, wait) <= share
    fewer = load + (slots - load) * 0.9
    assert late_share(fewer, load, service, cv, wait) > share or slots - load < 1e-3


@given(st.floats(0.1, 500), st.floats(0.1, 500))
def test_more_load_needs_more_slots(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert slots_for(low, 2.0, 1.0, 15.0, 1e-4) <= slots_for(high, 2.0, 1.0, 15.0, 1e-4) + 1e-4
