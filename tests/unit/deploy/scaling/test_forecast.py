"""What the forecaster learns: quantiles that hold, seasons, and whom to believe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.deploy.scaling.caution import Caution
from celeriac.deploy.scaling.forecast import QUANTILES, Forecaster
from celeriac.deploy.scaling.known import FanOut, arrivals_ahead
from celeriac.deploy.scaling.view import TICK, Due, Firing

DAY = int(86_400 / TICK)
AHEAD, WIDTH = 6, 4


def watch(counts: np.ndarray) -> tuple[Forecaster, np.ndarray]:
    """A forecaster that has seen the counts, and what it said at each tick."""
    forecaster = Forecaster()
    said = []
    for count in counts:
        forecaster.add(float(count))
        said.append(forecaster.peak(AHEAD, WIDTH))
    return forecaster, np.array(said)


def peaks(counts: np.ndarray) -> np.ndarray:
    """For each tick, the mean of the ticks ahead of it, or of the first of them where that is greater."""
    windows = np.lib.stride_tricks.sliding_window_view(counts, AHEAD)[1:]
    greatest: np.ndarray = (np.cumsum(windows, axis=1) / np.arange(1, AHEAD + 1)).max(axis=1)
    return greatest


def test_as_many_peaks_stay_below_a_quantile_as_it_says() -> None:
    random = np.random.default_rng(1)
    rate = 150 * np.exp(np.cumsum(random.normal(0, 0.02, 6000)) * 0.3)
    counts = random.poisson(rate)
    _forecaster, said = watch(counts)
    truth = peaks(counts)
    for index, quantile in enumerate(QUANTILES):
        below = (truth[2000:] <= said[2000 : len(truth), index]).mean()
        assert below == pytest.approx(quantile, abs=0.06)


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=40),
    st.floats(0, 20),
)
def test_a_pool_that_does_the_peak_lets_no_task_wait_longer_than_it_may(
    counts: list[int], spare: float
) -> None:
    """Told the slow way, tick by tick; a little less would leave somebody waiting or something undone."""
    forecaster = Forecaster(spare)
    for count in [0, *counts]:
        forecaster.add(float(count))
    peak = forecaster._peak(1, len(counts))
    done = np.cumsum(counts) - peak * (np.arange(len(counts)) + 1)
    assert (done <= peak * spare + 1e-6).all()
    assert done[-1] <= 1e-6
    assert peak == 0 or done[-1] > -1e-6 or np.isclose((done - peak * spare).max(), 0, atol=1e-6)


def test_a_peak_of_every_day_is_expected_on_the_third() -> None:
    """A tenfold quarter of an hour at noon, which no level and no trend can tell in advance."""
    day = np.full(DAY, 100.0)
    noon = DAY // 2
    day[noon : noon + 60] = 1000.0
    counts = np.random.default_rng(1).poisson(np.tile(day, 4))
    _forecaster, said = watch(counts)
    before = 3 * DAY + noon - 3
    assert said[before, -1] > 800
    quiet = 3 * DAY + noon // 2
    assert said[quiet, 3] < 150


def test_without_a_pattern_the_level_is_believed_and_little_is_added() -> None:
    counts = np.random.default_rng(1).poisson(np.full(3000, 400.0))
    forecaster, said = watch(counts)
    assert said[-1, 0] == pytest.approx(400, rel=0.05)
    assert said[-1, 4] < 460
    assert forecaster.affordable(1.25) == pytest.approx(len(QUANTILES) - 1)


def test_quantiles_that_cost_too_much_on_average_are_not_affordable() -> None:
    random = np.random.default_rng(1)
    counts = random.poisson(np.where(random.random(6000) < 0.02, 3000.0, 100.0))
    forecaster, _said = watch(counts)
    assert forecaster.affordable(1.25) < len(QUANTILES) - 2


@settings(max_examples=25)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=120))
def test_quantiles_are_in_order_and_numbers_whatever_comes(counts: list[int]) -> None:
    _forecaster, said = watch(np.array(counts))
    assert np.isfinite(said).all()
    assert (np.diff(said, axis=1) >= 0).all()
    assert (said > 0).all()


@given(st.lists(st.integers(0, 2000), min_size=4, max_size=30))
def test_the_rate_is_at_least_what_a_minute_is_sure_to_have_had(counts: list[int]) -> None:
    forecaster = Forecaster()
    for count in counts:
        forecaster.add(float(count))
    minute = sum(counts[-4:])
    assert 0 <= forecaster.at_least() <= minute / 4
    assert 4 * forecaster.at_least() == pytest.approx(max(minute - 2 * minute**0.5, 0.0))


def test_a_rise_is_drawn_on_and_a_fall_is_not() -> None:
    rising, falling = Forecaster(), Forecaster()
    for tick in range(40):
        rising.add(100.0 + 10.0 * tick)
        falling.add(1000.0 - 10.0 * tick)
    rate, risen = rising.rise(6)
    assert rate == pytest.approx(485.0)
    assert risen == pytest.approx(475.0 + 60.0)
    assert falling.rise(6) == pytest.approx((615.0, 625.0))


@given(
    st.lists(st.tuples(st.floats(0, 300), st.integers(1, 1000), st.floats(0, 300)), max_size=8),
    st.integers(1, 80),
)
def test_announced_tasks_are_counted_once(announced: list[tuple[float, int, float]], ticks: int) -> None:
    due = [Due(1000.0 + at, tasks, seconds) for at, tasks, seconds in announced]
    ahead = arrivals_ahead(due, FanOut(), 1000.0, ticks, 10_000.0)
    end = 1000.0 + ticks * TICK
    inside = sum(item.tasks or 0 for item in due if item.at + max(item.seconds, 1.0) <= end)
    assert (ahead >= 0).all()
    assert inside - 1e-6 <= ahead.sum() <= sum(item.tasks or 0 for item in due) + 1e-6


def test_a_fan_out_is_the_greatest_of_the_last_and_forgets_those_before() -> None:
    fan_out = FanOut()
    entry = Due(0.0, None, 0.0, "report")
    assert fan_out.expected(entry) is None
    fan_out.learn([Firing("report", 5000, 9.0), Firing("other", 7, 1.0)])
    for size in range(8):
        fan_out.learn([Firing("report", 100 + size, 20.0)])
    assert fan_out.expected(entry) == Due(0.0, 107, 20.0, "report")


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=200))
def test_caution_stays_in_its_bounds_and_late_tasks_raise_it(waits: list[tuple[float, bool]]) -> None:
    caution = Caution(5.0)
    for wait, late in waits:
        before = caution.level
        caution.feel(wait, int(late), 30.0, -0.5)
        assert -0.5 <= caution.level <= 5.0
        assert caution.level >= min(before + 0.2, 5.0) if late else True
        assert caution.level <= before if wait < 20.0 and not late else True
