from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.limits.gate import CELLS, LONGEST, SHORTEST, Facts, Gate, cell_leaves, cell_of, judge, learn

NOW = 1_000_000.0
facts = st.builds(
    Facts,
    used=st.integers(0, 50),
    next_free=st.none() | st.floats(NOW, NOW + 3600),
    typical=st.none() | st.floats(0, 1000),
    waits=st.booleans(),
    rank=st.integers(0, 10_000),
    overdue=st.integers(0, 100),
)
gates = st.builds(
    Gate, st.just("key"), st.integers(1, 50), st.none() | st.floats(0.01, 86_400), st.just(10.0)
)
chances = st.floats(0, 1)


@given(gates, facts, chances)
def test_nobody_passes_without_room_and_whoever_waits_passes_with_it(
    gate: Gate, known: Facts, chance: float
) -> None:
    verdict = judge(gate, known, NOW, chance)
    if known.used >= gate.limit:
        assert not verdict.passes
    elif known.waits:
        assert verdict.passes


@given(gates, facts, chances)
def test_who_is_refused_comes_back_neither_at_once_nor_too_late(
    gate: Gate, known: Facts, chance: float
) -> None:
    verdict = judge(gate, known, NOW, chance)
    if not verdict.passes:
        assert SHORTEST - 1e-6 <= verdict.due - NOW <= LONGEST * 1.1 + 1e-6


@given(st.floats(0.01, 86_400), st.floats(0, 2e9), st.floats(0, 100))
def test_a_cell_is_counted_until_no_window_can_hold_a_start_in_it(
    window: float, start: float, windows: float
) -> None:
    later = start + windows * window
    still_counted = cell_of(start, window) >= cell_of(later, window) - CELLS
    if not still_counted:
        assert later - start >= window * (1 - 1e-9)
        assert later >= cell_leaves(cell_of(start, window), window) - window / CELLS


@given(st.floats(0, 2e9), st.sampled_from([0.01, 1.0, 2.0, 60.0, 3600.0]))
def test_a_cell_leaves_when_it_says(start: float, window: float) -> None:
    leaves = cell_leaves(cell_of(start, window), window)
    assert 1 - 1e-9 <= (leaves - start) / window <= 1 + 1.01 / CELLS + 1e-6


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_the_typical_time_lies_among_the_known_ones(times: list[float]) -> None:
    typical = None
    for ran in times:
        typical = learn(typical, ran)
    assert typical is not None
    assert min(times) - 1e-6 <= typical <= max(times) + 1e-6


def test_those_further_back_look_less_often() -> None:
    gate = Gate("key", 1, lease=10)
    waits = [
        judge(gate, Facts(1, None, 600.0, True, rank, 0), NOW, 1.0).due - NOW for rank in (0, 10, 100, 10_000)
    ]
    assert waits == pytest.approx([1.0, 1.5, 6.0, LONGEST])
