"""What the brain promises: bounds, order, waking in time, holding still, and reasons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.core.errors import ConfigurationError
from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.brain import Brain
from celeriac.deploy.scaling.drain import Work, slots_to_work_off
from celeriac.deploy.scaling.load import Burst, Load
from celeriac.deploy.scaling.shapes import generate
from celeriac.deploy.scaling.simulation import Conditions, simulate
from celeriac.deploy.scaling.view import TICK, Due, Firing, View

AIMS = Aims(slots_per_pod=4, startup=45.0, service_time=2.0)


def busy(now: float, tasks: int, pods: int, **more: object) -> View:
    """A tick in which so many tasks of two seconds came and went."""
    return View(
        now,
        arrivals=tasks,
        begun=tasks,
        finished=tasks,
        run_seconds=2.0 * tasks,
        run_seconds_squared=8.0 * tasks,
        running=min(round(tasks * 2 / TICK), pods * 4),
        ready=pods,
        **more,  # type: ignore[arg-type]
    )


def after(brain: Brain, ticks: int, tasks: int) -> int:
    pods = 1
    for index in range(ticks):
        pods = brain.decide(busy((index + 1) * TICK, tasks, pods))
    return pods


def test_a_steady_load_gets_what_it_needs_and_little_more() -> None:
    pods = after(Brain(AIMS), 200, 180)  # 24 slots' worth
    assert 6 <= pods <= 8


def test_nothing_changes_while_metrics_cannot_be_read() -> None:
    brain = Brain(AIMS)
    pods = after(brain, 100, 180)
    decision = brain.explain(View(1515.0, ready=pods, metrics=False))
    assert decision.pods == pods
    assert "could not be read" in decision.reason


def test_a_preview_decides_and_changes_nothing() -> None:
    brain = Brain(Aims(slots_per_pod=4, service_time=2.0, preview=True))
    assert after(brain, 50, 180) == 1
    assert brain.explain(busy(765.0, 180, 1)).pods > 3


@pytest.mark.parametrize(
    ("caps", "most", "named"),
    [
        ({"max_pods": 3}, 3, "max_pods"),
        ({"gpus_per_pod": 2, "max_gpus": 5}, 2, "max_gpus"),
        ({"price": 0.5, "budget": 2.2}, 4, "budget"),
    ],
)
def test_a_cap_is_kept_and_named(caps: dict[str, float], most: int, named: str) -> None:
    brain = Brain(Aims(slots_per_pod=4, service_time=2.0, **caps))  # type: ignore[arg-type]
    assert after(brain, 50, 180) == most
    assert named in brain.explain(busy(765.0, 180, most)).reason


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="budget allows 2"):
        Aims(slots_per_pod=4, min_pods=3, price=1.0, budget=2.5)


def test_an_idle_pool_goes_to_zero_and_wakes_for_the_first_task() -> None:
    brain = Brain(AIMS)
    pods = after(brain, 100, 20)
    now = 1500.0
    for _tick in range(200):
        now += TICK
        pods = brain.decide(View(now, ready=pods))
    assert pods == 0
    assert brain.decide(View(now + TICK, arrivals=1, queued=1)) == 1


def test_a_pool_at_zero_is_awake_when_beat_fires() -> None:
    """The entry fires every hour; pods are asked for before, once it was seen what comes of it."""
    shape = np.zeros(4 * 240)
    bursts = tuple(Burst(3600.0 * hour + 1800.0, 400.0, 20.0, 0.0, "report") for hour in range(4))
    load = Load.scaled(shape, bursts, mean_load=0.2, service_time=2.0)
    asked: dict[float, int] = {}

    class Watched(Brain):
        def decide(self, view: View) -> int:
            asked[view.now] = super().decide(view)
            return asked[view.now]

    conditions = Conditions(min_pods=0)
    outcome = simulate(load, Watched(Aims(slots_per_pod=4, startup=45.0)), conditions)
    assert outcome.within_objective == 1.0
    assert asked[3 * 3600.0 + 1500.0] == 0
    assert asked[3 * 3600.0 + 1785.0] > 0


def test_what_is_due_with_its_number_is_seen_to_without_having_been_learnt() -> None:
    brain = Brain(AIMS)
    pods = after(brain, 100, 60)
    due = (Due(1500.0 + 75.0, 2000, 60.0),)
    assert brain.decide(busy(1515.0, 60, pods, due=due)) > 2 * pods
    far = (Due(1500.0 + 600.0, 2000, 60.0),)
    assert Brain(AIMS).decide(busy(15.0, 60, 3, due=far)) <= 4


def test_a_beat_entry_that_never_fired_moves_nothing_until_it_has() -> None:
    brain = Brain(AIMS)
    pods = after(brain, 100, 60)
    due = (Due(1575.0, None, 0.0, "report"),)
    assert brain.decide(busy(1515.0, 60, pods, due=due)) == pods
    learnt = brain.decide(busy(1530.0, 60, pods, due=due, fired=(Firing("report", 2000, 60.0),)))
    assert learnt > 2 * pods


def test_pods_under_way_are_not_asked_for_twice() -> None:
    work = {"waiting": 2000.0, "announced": np.zeros(14), "load": 20.0, "load_seconds": 90.0}
    none = Work(**work, slots=24, slots_per_pod=4, still_to_wait=())
    wanted = slots_to_work_off(none, 45.0, 3.0)
    more = math.ceil((wanted - 24) / 4)
    under_way = Work(**work, slots=24 + 4 * more, slots_per_pod=4, still_to_wait=(45.0,) * more)
    assert slots_to_work_off(under_way, 45.0, 3.0) <= under_way.slots


def test_a_rise_beyond_what_the_pods_can_do_is_met_before_anybody_has_waited() -> None:
    brain = Brain(AIMS)
    pods = after(brain, 200, 60)
    assert brain.decide(busy(3015.0, 130, pods)) == pods
    assert brain.decide(busy(3030.0, 130, pods, queued=1)) >= 2 * pods


@given(
    waiting=st.floats(0, 1e5),
    more=st.floats(0, 1e5),
    load=st.floats(0, 500),
    slots=st.integers(0, 500),
    lead=st.floats(15, 600),
)
def test_more_backlog_never_needs_fewer_slots(
    waiting: float, more: float, load: float, slots: int, lead: float
) -> None:
    ticks = int(lead / TICK) + 10

    def needed(backlog: float) -> float:
        return slots_to_work_off(Work(backlog, np.zeros(ticks), load, lead + 30, slots, 4, ()), lead, 3.0)

    assert needed(waiting + more) >= needed(waiting) - 1e-6


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 5000)), min_size=1, max_size=80),
    st.integers(0, 3),
)
def test_whatever_comes_the_answer_is_within_bounds(ticks: list[tuple[int, int]], least: int) -> None:
    brain = Brain(Aims(slots_per_pod=4, min_pods=least, max_pods=50))
    pods = least
    for index, (tasks, queued) in enumerate(ticks):
        pods = brain.decide(busy((index + 1) * TICK, tasks, pods, queued=queued))
        assert least <= pods <= 50


def test_a_day_of_beat_is_served_in_time_with_far_fewer_pods_than_its_peak() -> None:
    shape, bursts = generate("beat", days=2, seed=3)
    conditions = Conditions(service_time=30.0)
    load = Load.scaled(shape, bursts, mean_load=24, service_time=30.0)
    outcome = simulate(load, Brain(Aims(slots_per_pod=4, min_pods=1)), conditions)
    assert outcome.within_objective > 0.99
    assert outcome.utilisation > 0.4
