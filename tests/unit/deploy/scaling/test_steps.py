"""When pods are given up: soon after a great fall, late after a small one, never to and fro."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celeriac.deploy.scaling.steps import Steps
from celeriac.deploy.scaling.view import TICK


def fall(
    before: float, after: float, pods: int, seconds: float = 3000.0, *, short_for: float = 120.0
) -> list[tuple[float, int]]:
    """The steps that are taken after a need of ``before`` slots falls to ``after``, and when."""
    steps = Steps(4)
    steps.hurry(short_for)
    taken = []
    now = 0.0
    for _tick in range(80):
        now += TICK
        steps.pods(now, pods, before, 0.0, 1.0)
    fell = now
    while now < fell + seconds:
        now += TICK
        wanted = steps.pods(now, pods, after, 0.0, 1.0)
        if wanted != pods:
            taken.append((now - fell, wanted))
            pods = wanted
    return taken


def test_most_pods_are_given_up_within_two_minutes_and_one_of_many_later() -> None:
    ((great, left),) = fall(40.0, 8.0, 10)
    assert left == 2
    assert great <= 120.0
    ((small, left),) = fall(40.0, 36.0, 10)
    assert left == 9
    assert small >= 300.0


def test_the_sooner_a_pod_is_back_the_sooner_it_is_given_up() -> None:
    waits = [fall(40.0, 36.0, 10, short_for=seconds)[0][0] for seconds in (17.0, 47.0, 120.0, 182.0)]
    assert waits == sorted(waits)
    assert waits[0] < waits[2] / 2
    assert waits[2] == waits[3]  # no pod is kept for longer than that


@given(st.integers(1, 60), st.integers(0, 60))
def test_a_greater_fall_never_waits_longer_and_ends_at_what_is_needed(pods: int, fewer: int) -> None:
    left = max(pods - fewer, 0)
    taken = fall(pods * 4.0, left * 4.0, pods)
    assert [wanted for _at, wanted in taken] == ([left] if left < pods else [])
    more = fall(pods * 4.0, max(left - 1, 0) * 4.0, pods)
    if taken and more:
        assert more[0][0] <= taken[0][0]


def test_what_chance_made_urgent_is_held_and_what_was_announced_is_not() -> None:
    def held(*, brief: bool) -> float:
        steps = Steps(4)
        for tick in range(40):
            steps.pods(tick * TICK, 5, 20.0, 20.0, 1.0, brief=brief)
        assert steps.pods(40 * TICK, 5, 20.0, 24.0, 1.0, brief=brief) == 6
        ticks = (
            tick for tick in range(41, 100) if steps.pods(tick * TICK, 6, 20.0, 18.0, 1.0, brief=brief) == 5
        )
        return (next(ticks) - 40) * TICK

    assert held(brief=True) == TICK
    assert held(brief=False) >= 300.0
