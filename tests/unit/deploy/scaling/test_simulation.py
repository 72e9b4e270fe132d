"""The simulator: first come, first served to the task; what pods cost; and queues as theory has them."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.deploy.scaling.fleet import Fleet
from celeriac.deploy.scaling.load import Burst, Load
from celeriac.deploy.scaling.simulation import Conditions, simulate, simulate_parts
from celeriac.deploy.scaling.view import TICK, View
from tests.unit.deploy.scaling.test_staffing import erlang

NOBODY_KNEW = 0.0


class Fixed:
    """As many pods as it was made with."""

    def __init__(self, pods: int) -> None:
        self.pods = pods
        self.views: list[View] = []

    def decide(self, view: View) -> int:
        self.views.append(view)
        return self.pods


def steady(hours: float, slots: float, service_time: float) -> Load:
    return Load.scaled(np.ones(int(hours * 3600 / TICK)), (), mean_load=slots, service_time=service_time)


def served(arrivals: list[float], runs: list[float], slots: int) -> list[float]:
    """The waits in a queue with so many slots, told the slow way."""
    free = [0.0] * slots
    waits = []
    for arrived, run in zip(arrivals, runs, strict=True):
        slot = min(range(slots), key=free.__getitem__)
        begin = max(arrived, free[slot])
        free[slot] = begin + run
        waits.append(begin - arrived)
    return waits


@given(
    st.lists(st.tuples(st.floats(0, 120), st.floats(0.01, 40)), max_size=60),
    st.integers(1, 4),
    st.sampled_from([5.0, 15.0, 1000.0]),
)
def test_waits_do_not_depend_on_how_time_is_cut(
    tasks: list[tuple[float, float]], slots: int, span: float
) -> None:
    tasks.sort()
    fleet = Fleet(1, slots, 45.0, Random(1))
    waits: list[float] = []
    until, rest = 0.0, list(tasks)
    while rest or fleet.queued():
        until += span
        now = [task for task in rest if task[0] < until]
        rest = rest[len(now) :]
        waits += fleet.work([at for at, _run in now], [run for _at, run in now], until)[0]
    assert waits == served([at for at, _run in tasks], [run for _at, run in tasks], slots)


def test_a_pod_takes_tasks_once_it_has_started_and_is_paid_from_the_start() -> None:
    fleet = Fleet(0, 1, 45.0, Random(1))
    fleet.scale(1, 0.0)
    (ready,) = (at for _asked, at in fleet._starting)
    assert fleet.work([1.0], [2.0], 15.0) == ([], 0)
    assert fleet.paid(0.0, 15.0) == 15.0
    assert fleet.become_ready(100.0) == [ready]
    assert fleet.work([], [], 100.0) == ([ready - 1.0], 2.0)


def test_what_still_starts_is_taken_back_first_then_who_has_least_left_to_do() -> None:
    fleet = Fleet(2, 1, 45.0, Random(1))
    fleet.work([0.0, 0.0], [100.0, 20.0], 15.0)
    fleet.scale(3, 15.0)
    fleet.scale(2, 15.0)
    assert (fleet.ready, fleet.pods) == (2, 2)
    fleet.scale(1, 15.0)
    assert fleet.paid(15.0, 30.0) == pytest.approx(15.0 + 5.0)  # the other is gone at 20
    assert fleet.paid(30.0, 45.0) == 15.0
    assert fleet.running(99.0) == 1


@pytest.mark.parametrize(("slots", "load"), [(28, 24.0), (8, 6.0)])
def test_waits_are_as_erlang_says(slots: int, load: float) -> None:
    conditions = Conditions(service_time=2.0, slots_per_pod=slots)
    outcome = simulate(steady(24, load, 2.0), Fixed(1), conditions)
    waited = 1 - erlang(slots, load)
    assert outcome.utilisation == pytest.approx(load / slots, rel=0.02)
    assert outcome.wait_p50 == 0.0 or waited < 0.5
    assert outcome.within_objective == 1.0
    assert outcome.pod_hours == pytest.approx(12.0)
    assert outcome.tasks == pytest.approx(12 * 3600 * load / 2, rel=0.02)


def test_too_few_slots_make_everybody_late_and_those_left_over_count() -> None:
    outcome = simulate(steady(4, 24.0, 2.0), Fixed(1), Conditions(slots_per_pod=4))
    assert outcome.within_objective < 0.01
    assert outcome.utilisation == pytest.approx(1.0, rel=0.01)


def test_every_task_is_seen_once_and_announced_ones_are_told_apart() -> None:
    shape = np.ones(480)
    bursts = (Burst(3000.0, 600.0, 60.0, 1000.0), Burst(3600.0, 300.0, 30.0, NOBODY_KNEW, "beat"))
    load = Load.scaled(shape, bursts, mean_load=8, service_time=2.0)
    policy = Fixed(10)
    simulate(load, policy, Conditions(), part=(0.0, 1.0))
    announced = sum(view.announced for view in policy.views)
    assert announced == sum(round(burst.work) for burst in load.bursts) == int(load.burst_counts().sum())
    assert [view.due[0].at for view in policy.views if view.now == 2700.0] == [3000.0]
    assert not [due for view in policy.views if view.now < 1000 for due in view.due if not due.entry]
    fired = [firing for view in policy.views for firing in view.fired]
    assert [(firing.entry, firing.tasks) for firing in fired] == [("beat", round(load.bursts[1].work))]


def test_one_seed_makes_one_run() -> None:
    load = steady(3, 8.0, 2.0)
    one, same, other = (
        simulate(load, Fixed(3), Conditions(seed=seed, slots_per_pod=3)).as_dict() for seed in (1, 1, 2)
    )
    assert one == same != other


class Whims:
    """Wants another number of pods every now and then, never mind the load."""

    def __init__(self, seed: int, pods: int) -> None:
        self._random = Random(seed)
        self._most = pods
        self._pods = pods
        self.views: list[View] = []

    def decide(self, view: View) -> int:
        self.views.append(view)
        if self._random.random() < 0.3:
            self._pods = self._random.randint(1, self._most)
        return self._pods


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.5, 2.0, 30.0]), st.integers(2, 14))
def test_a_pool_with_room_for_all_is_what_it_would_be_task_by_task(
    seed: int, service_time: float, pods: int
) -> None:
    load = Load.scaled(
        np.ones(480), (Burst(4000.0, 400.0, 60.0, 0.0),), mean_load=8, service_time=service_time
    )
    conditions = Conditions(service_time=service_time, slots_per_pod=2, seed=seed)
    with pytest.MonkeyPatch.context() as patched:
        by_crowd = Whims(seed, pods)
        outcome = simulate(load, by_crowd, conditions)
        patched.setattr(Fleet, "has_room", lambda *_arguments: False)
        by_task = Whims(seed, pods)
        exact = simulate(load, by_task, conditions)
    assert outcome.as_dict() == pytest.approx(exact.as_dict(), rel=1e-9)
    for one, other in zip(by_crowd.views, by_task.views, strict=True):
        assert (one.running, one.queued, one.ready, one.late) == (
            other.running,
            other.queued,
            other.ready,
            other.late,
        )


def test_policies_side_by_side_fare_as_each_does_alone() -> None:
    load = steady(3, 8.0, 2.0)
    conditions = Conditions(slots_per_pod=3)
    together = simulate_parts(load, [Fixed(3), Whims(1, 6)], conditions, ((0.1, 0.5), (0.5, 1.0)))
    alone = [
        simulate_parts(load, [one], conditions, ((0.1, 0.5), (0.5, 1.0)))[0]
        for one in (Fixed(3), Whims(1, 6))
    ]
    assert together == alone


@given(st.lists(st.tuples(st.floats(0, 3000), st.floats(1, 500), st.floats(1, 600)), max_size=8))
def test_bursts_lose_no_task_in_being_cut_into_ticks(bursts: list[tuple[float, float, float]]) -> None:
    whole = tuple(Burst(at, work, seconds, 0.0) for at, work, seconds in bursts)
    counts = Load(np.ones(400), whole).burst_counts()
    assert counts.min() >= 0
    assert counts.sum() == sum(int(np.rint(burst.work)) for burst in whole)
