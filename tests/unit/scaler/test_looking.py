"""Arrivals, firings and run times are worked out from what is seen; what was learnt outlives the process."""

from __future__ import annotations

from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.brain import Brain
from celeriac.deploy.scaling.memory import Unreadable, recall, remember
from celeriac.deploy.scaling.view import TICK, Due, Firing, View
from celeriac.observe.report import WorkerReport
from celeriac.observe.tally import Counts, TaskCounts
from celeriac.scaler.arrivals import Arrivals
from celeriac.scaler.firings import Firings
from celeriac.scaler.pool_counts import WorkDone


def test_a_task_arrives_once_and_a_delayed_one_when_it_is_due() -> None:
    arrivals = Arrivals()
    assert arrivals.since(0.0, 5, 0, 0, []) == (0, 0)  # what was there before is not new
    assert arrivals.since(15.0, 8, 0, 0, []) == (3, 0)
    assert arrivals.since(30.0, 6, 0, 4, []) == (2, 0)  # four have ended, two have come
    assert arrivals.since(45.0, 6, 3, 0, [55.0, 56.0, 90.0]) == (0, 0)
    assert arrivals.since(60.0, 9, 1, 0, [90.0]) == (1, 2)  # two were announced
    assert arrivals.since(75.0, 9, 0, 2, []) == (2, 0)


def test_what_a_worker_holds_back_is_taken_out_and_counted_when_it_comes() -> None:
    arrivals = Arrivals()
    arrivals.since(0.0, 0, 0, 0, [])
    assert arrivals.since(15.0, 100, 0, 0, []) == (100, 0)  # nobody has looked at them yet
    assert arrivals.since(30.0, 0, 100, 0, [50.0] * 100) == (0, 0)
    assert arrivals.since(60.0, 100, 0, 0, []) == (0, 100)


def test_what_vanishes_unrun_is_forgotten_after_a_minute() -> None:
    arrivals = Arrivals()
    arrivals.since(0.0, 50, 0, 0, [])
    assert arrivals.since(15.0, 0, 0, 0, []) == (0, 0)  # purged
    for tick in range(2, 7):
        assert arrivals.since(tick * TICK, 0, 0, 0, []) == (0, 0)
    assert arrivals.since(105.0, 3, 0, 0, []) == (3, 0)


def test_a_firing_is_what_came_beyond_the_usual() -> None:
    firings = Firings()
    for tick in range(1, 11):
        assert firings.since(tick * TICK, 10, {}) == (0, [])
    assert firings.since(165.0, 510, {"hourly": 152.0}) == (500, [])
    assert firings.since(180.0, 110, {}) == (100, [])
    assert firings.since(195.0, 12, {}) == (0, [])
    assert firings.since(210.0, 9, {}) == (0, [Firing("hourly", 600, 28.0)])
    assert firings.since(225.0, 10, {}) == (0, [])


def test_entries_that_fire_together_share_what_they_are_known_for() -> None:
    firings = Firings()
    firings.since(15.0, 0, {})
    for begin in (30.0,):
        assert firings.since(begin, 200, {"hourly": begin}) == (200, [])
        firings.since(begin + 15, 0, {})
        assert firings.since(begin + 30, 0, {})[1] == [Firing("hourly", 200, 0.0)]
    firings.since(90.0, 1200, {"hourly": 90.0, "nightly": 90.0})
    firings.since(105.0, 0, {})
    ended = firings.since(120.0, 0, {})[1]
    assert {(firing.entry, firing.tasks) for firing in ended} == {("hourly", 200), ("nightly", 1000)}


def report(ended: int, seconds: float, waited: float, node: str = "a") -> WorkerReport:
    counts = TaskCounts(started=ended)
    counts.ended[0] = ended
    for _ in range(ended):
        counts.succeeded_in.observe(seconds)
        counts.waited.observe(waited)
    return WorkerReport(
        node=node, hostname=f"celery@{node}", counts=Counts({("q", "t"): counts, ("other", "t"): counts})
    )


def test_what_workers_have_done_since_is_told_apart_from_their_lives() -> None:
    done = WorkDone(["q"], objective=30.0)
    assert done.since({"a": report(100, 2.0, 0.1)}).ended == 0
    later = done.since({"a": report(110, 2.0, 0.1), "b": report(4, 2.0, 0.1, "b")})
    assert (later.ended, later.finished, later.begun, later.late) == (14, 14, 14, 0)
    assert abs(later.run_seconds - 28.0) < 1e-9
    assert 50 < later.run_seconds_squared < 62  # 14 times 4, but all in one bucket
    done.lost_sight()
    assert done.since({"c": report(1000, 2.0, 0.1, "c")}).ended == 0
    assert done.since({"c": report(1000, 2.0, 50.0, "c")}).late == 1000


def views(begin: int, end: int) -> list[View]:
    due, fired = [Due(0.0, None, 0.0, "e")], [Firing("e", 5, 3.0)]
    return [
        View(
            tick * TICK,
            arrivals=40 + tick % 17,
            queued=2,
            running=9,
            ready=4,
            finished=45,
            run_seconds=90.0,
            run_seconds_squared=300.0,
            due=[entry._replace(at=tick * TICK + 60) for entry in due],
            fired=fired,
            started=[40.0],
        )
        for tick in range(begin, end)
    ]


def test_a_brain_that_recalls_decides_as_the_one_that_remembered() -> None:
    aims = Aims(slots_per_pod=4)
    first, second = Brain(aims), Brain(aims)
    for view in views(1, 300):
        first.explain(view)
    recall(second, remember(first))
    for view in views(300, 400):
        assert second.explain(view) == first.explain(view)


def test_a_memory_of_another_version_is_refused_and_changes_nothing() -> None:
    brain, new = Brain(Aims(slots_per_pod=4)), Brain(Aims(slots_per_pod=4))
    vars(brain)["_of_tomorrow"] = 1
    for memory in (remember(brain), b"", b"\x00" * 50):
        try:
            recall(new, memory)
        except Unreadable:
            continue
        raise AssertionError("it was taken")
    assert remember(new) == remember(Brain(Aims(slots_per_pod=4)))
