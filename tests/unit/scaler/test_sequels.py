"""What runs tells what will come of it, when that is, and that it has come."""

from __future__ import annotations

from celeriac.deploy.scaling.view import TICK, Due
from celeriac.observe.report import Sequel, WorkerReport, posted_reports, write_report
from celeriac.observe.tally import Counts, Histogram, TaskCounts
from celeriac.scaler.sequels import Sequels

NOW = 1_000_000.0


def reports(*sequels: Sequel, node: str = "w:1", usual: float = 60.0) -> dict[str, WorkerReport]:
    counts = TaskCounts()
    counts.succeeded_in = Histogram()
    counts.succeeded_in.observe(usual)
    told = WorkerReport(
        node=node, hostname="w", sequels=sequels, counts=Counts({("celery", "split"): counts}, {})
    )
    return posted_reports([write_report(told)])  # as it is sent


def sequel(whose: str = "a", queue: str = "parts", tasks: int = 50, after: str = "split") -> Sequel:
    return Sequel(whose, queue, tasks, after, NOW - 20)


def test_it_comes_when_the_task_has_run_for_as_long_as_usual() -> None:
    assert Sequels(["parts"]).since(NOW, reports(sequel())) == (0, [Due(NOW + 40, 50, 1.0)])


def test_what_is_overdue_or_unknown_is_expected_at_the_next_tick() -> None:
    for told in (reports(sequel(), usual=5.0), reports(sequel(after="other"))):
        assert Sequels(["parts"]).since(NOW, told)[1] == [Due(NOW + TICK, 50, 1.0)]


def test_other_queues_and_single_tasks_are_left_out() -> None:
    told = reports(sequel(queue="others"), sequel("b", tasks=1))
    assert Sequels(["parts"]).since(NOW, told) == (0, [])


def test_a_chords_body_is_counted_once_for_all_its_parts() -> None:
    told = reports(sequel("group")) | reports(sequel("group"), node="w:2")
    sequels = Sequels(["parts"])
    assert len(sequels.since(NOW, told)[1]) == 1
    assert sequels.since(NOW, reports(sequel("group")))[0] == 0, "a part of it still runs"


def test_it_has_come_when_the_task_runs_no_longer() -> None:
    sequels = Sequels(["parts"])
    sequels.since(NOW, reports(sequel(), sequel("b", tasks=7)))
    assert sequels.since(NOW + 15, reports(sequel("b", tasks=7)))[0] == 50
    assert sequels.since(NOW + 30, reports())[0] == 7
    assert sequels.since(NOW + 45, reports()) == (0, [])
