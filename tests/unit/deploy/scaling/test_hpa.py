"""The autoscaler's arithmetic, by the examples of Kubernetes' documentation, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.deploy.scaling.rivals.hpa import Behaviour, Hpa, MetricPolicy, Rule
from celeriac.deploy.scaling.rivals.predictive import Linear
from celeriac.deploy.scaling.simulation import Conditions
from celeriac.deploy.scaling.view import View

AT_ONCE = Behaviour(down_window=0.0)


def steps(
    hpa: Hpa, pods: int, metric: float | None, target: float, times: int, every: float = 15.0
) -> list[int]:
    seen = []
    for index in range(times):
        pods = hpa.step(index * every, pods, metric, target)
        seen.append(pods)
    return seen


@pytest.mark.parametrize(
    ("current", "metric", "wanted"),
    [
        (10, 1000.0, 10),  # on target
        (10, 1100.0, 10),  # 10 % above is tolerated
        (10, 1101.0, 12),
        (10, 900.0, 10),
        (10, 899.0, 9),
        (10, 2000.0, 20),  # doubling is within the limits of the default policies
        (10, 9000.0, 20),
        (2, 9000.0, 6),  # four pods are more than a doubling
        (0, 100.0, 1),
    ],
)
def test_one_step(current: int, metric: float, wanted: int) -> None:
    assert Hpa(AT_ONCE, min_pods=0).step(0.0, current, metric, 100.0) == wanted


def test_limits_of_scaling_in_are_those_of_the_documented_example() -> None:
    """80 pods, 10 % or 4 pods a minute, whichever is more: "80 to 72, then 72 to 64"."""
    rules = (Rule("Pods", 4, 60.0), Rule("Percent", 10, 60.0))
    hpa = Hpa(Behaviour(down_window=0.0, down=rules))
    assert steps(hpa, 80, 1.0, 1.0, 4, every=60.0) == [72, 64, 57, 51]
    assert steps(Hpa(Behaviour(down_window=0.0, down=rules)), 38, 1.0, 1.0, 2, every=60.0) == [34, 30]


def test_no_scaling_in_for_the_window_after_the_last_high_recommendation() -> None:
    hpa = Hpa(Behaviour())
    assert hpa.step(0.0, 10, 1000.0, 100.0) == 10
    assert steps_after(hpa, 15.0, 10, 100.0, 19) == [10] * 19
    assert hpa.step(300.0, 10, 100.0, 100.0) == 1


def steps_after(hpa: Hpa, begin: float, pods: int, metric: float, times: int) -> list[int]:
    return [hpa.step(begin + 15.0 * index, pods, metric, 100.0) for index in range(times)]


def test_it_stands_still_without_a_metric() -> None:
    policy = MetricPolicy(lambda view: view.queued, 1.0, AT_ONCE)
    assert policy.decide(View(15.0, queued=100, ready=3, metrics=False)) == 3
    assert policy.decide(View(30.0, queued=100, ready=3)) == 7


def test_a_disabled_direction_is_a_rule_of_nothing() -> None:
    assert Hpa(Behaviour(down_window=0.0, down=(Rule("Percent", 0, 15.0),))).step(0.0, 9, 1.0, 1.0) == 9


@given(
    st.lists(st.floats(0, 1e5), min_size=1, max_size=60),
    st.integers(1, 50),
    st.sampled_from([0.0, 60.0, 300.0]),
)
def test_it_keeps_its_bounds_and_its_pace(metrics: list[float], pods: int, window: float) -> None:
    hpa = Hpa(Behaviour(down_window=window), min_pods=1, max_pods=60)
    for index, metric in enumerate(metrics):
        wanted = hpa.step(index * 15.0, pods, metric, 10.0)
        assert 1 <= wanted <= 60
        assert wanted <= max(2 * pods, pods + 4)
        pods = wanted


@given(st.integers(1, 50), st.floats(0, 1e4), st.floats(0, 1e4))
def test_a_greater_metric_never_wants_fewer_pods(pods: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert Hpa(AT_ONCE).step(0.0, pods, low, 10.0) <= Hpa(AT_ONCE).step(0.0, pods, high, 10.0)


def test_a_straight_line_is_drawn_on_for_as_long_as_pods_take() -> None:
    """Six samples, one more each time; 75 seconds are five syncs, and the next value is 14 tasks."""
    linear = Linear(Conditions(startup=45.0, slots_per_pod=1), target=1.0)
    pods = 20
    for sync in range(6):
        pods = linear.decide(View(15.0 * sync, running=4 + sync, ready=14))
    assert pods == 14
    for sync in range(6, 60):
        pods = linear.decide(View(15.0 * sync, running=9, ready=pods))
    assert pods == 10  # one more is within the tolerance
