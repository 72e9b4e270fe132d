"""How many messages a shard claims at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.engine.batch import BatchSize

SECONDS = st.floats(min_value=0, max_value=1e6)
COUNTS = st.integers(min_value=0, max_value=1000)
LEARNED = st.lists(st.tuples(COUNTS, SECONDS), max_size=30)
AIMS = st.floats(min_value=1e-6, max_value=1000)
LIMITS = st.integers(min_value=1, max_value=5000)


def learned(size: BatchSize, lessons: list[tuple[int, float]]) -> BatchSize:
    for count, seconds in lessons:
        size.learn(count, seconds)
    return size


def test_begins_with_one() -> None:
    assert BatchSize(0.02, 256).current == 1


@given(AIMS, LIMITS, LEARNED)
def test_stays_between_one_and_the_limit(aim: float, limit: int, lessons: list[tuple[int, float]]) -> None:
    size = BatchSize(aim, limit)
    for count, seconds in lessons:
        size.learn(count, seconds)
        assert 1 <= size.current <= limit


@given(AIMS, LIMITS, LEARNED, COUNTS, SECONDS)
def test_grows_at_most_fourfold(
    aim: float, limit: int, lessons: list[tuple[int, float]], count: int, seconds: float
) -> None:
    size = learned(BatchSize(aim, limit), lessons)
    before = size.current
    size.learn(count, seconds)
    assert size.current <= 4 * before


@given(AIMS, LIMITS, LEARNED, st.integers(min_value=1, max_value=1000), SECONDS)
def test_after_a_batch_slower_than_ever_the_next_fits_the_aim(
    aim: float, limit: int, lessons: list[tuple[int, float]], count: int, seconds: float
) -> None:
    size = learned(BatchSize(aim, limit), lessons)
    slowest = max([each / n for n, each in lessons if n], default=0.0)
    size.learn(count, (slowest + seconds) * count)
    assert size.current == 1 or size.current * (slowest + seconds) <= aim * 1.000001


@given(AIMS, LIMITS, LEARNED, SECONDS)
def test_learns_nothing_from_nothing(
    aim: float, limit: int, lessons: list[tuple[int, float]], seconds: float
) -> None:
    size, same = learned(BatchSize(aim, limit), lessons), learned(BatchSize(aim, limit), lessons)
    size.learn(0, seconds)
    assert size.current == same.current
    size.learn(10, 0.001)
    same.learn(10, 0.001)
    assert size.current == same.current


def test_comes_near_the_aim_in_a_few_batches() -> None:
    size = BatchSize(0.02, 256)
    sizes = []
    for _ in range(6):
        sizes.append(size.current)
        size.learn(size.current, size.current * 0.0001)
    assert sizes == [1, 4, 16, 64, pytest.approx(200, abs=1), pytest.approx(200, abs=1)]


def test_one_slow_task_is_forgotten_after_some_quick_ones() -> None:
    size = learned(BatchSize(0.02, 256), [(1, 5.0)])
    assert size.current == 1
    batches = 0
    while size.current < 256:
        size.learn(size.current, size.current * 0.00001)
        batches += 1
        assert batches < 100
    assert batches > 3


@pytest.mark.parametrize("quick", [0.0, 5e-324, 1e-300])
def test_tasks_too_quick_to_measure_fill_the_batch(quick: float) -> None:
    size = learned(BatchSize(0.02, 256), [(1, 0.001)] + [(256, 256 * quick)] * 5000)
    assert size.current == 256
