"""How late Celery's own scheduler sends what is due is counted, whatever its schedule is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import beat, schedules

from celeriac import Celery
from celeriac.bridge.beat_report import report_beat
from celeriac.observe.beats import BeatReport, read_beats
from tests.servers import wait_until

MINUTELY = schedules.crontab()


class Desk:
    """A beat whose ticks are the test's own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.app = Celery("beat", broker=f"sqlite:///{folder}/q.db", set_as_current=False)
        self.app.conf.update(metrics_share=True, timezone="Europe/Berlin", **settings)
        self.service = beat.Service(self.app, scheduler_cls=beat.Scheduler)
        self.reporter = report_beat(self.service)

    def plan(self, name: str, schedule: Any, ago: float, task: str = "t") -> None:
        """The entry was sent so many seconds ago."""
        last = datetime.now(UTC) - timedelta(seconds=ago)
        entry = beat.ScheduleEntry(name=name, task=task, schedule=schedule, last_run_at=last, app=self.app)
        self.service.scheduler.schedule = {name: entry}

    def told(self) -> BeatReport:
        """What is posted at the end."""
        assert self.reporter is not None
        self.reporter.close()
        [report] = read_beats(self.app.amqp.publishers.get().broker.posted().values())
        return report


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    if desk.reporter is not None:
        desk.reporter.close()


def sent(desk: Desk) -> int:
    return int(desk.app.amqp.publishers.get().broker.stats(["celery"])["celery"].ready)


@pytest.mark.parametrize(
    ("schedule", "ago", "late", "missed"),
    [
        (schedules.schedule(10.0), 12.0, (2.0, 3.0), 0),
        (schedules.schedule(10.0), 65.0, (55.0, 56.0), 5),
        (MINUTELY, 240.0, (180.0, 241.0), 3),
        (schedules.schedule(0.01), 3600.0, (3599.0, 3601.0), 1000),
    ],
    ids=["interval", "interval missed", "crontab missed", "so many that counting ends"],
)
def test_what_is_due_is_counted_with_how_late_it_is(
    desk: Desk, schedule: Any, ago: float, late: tuple[float, float], missed: int
) -> None:
    desk.plan("report", schedule, ago)
    desk.service.scheduler.tick()
    assert sent(desk) == 1
    told = desk.told()
    assert told.late.count == 1
    assert late[0] <= told.late.sum < late[1]
    assert told.missed in ((missed, missed + 1) if schedule is MINUTELY else (missed,))
    assert (told.failed, set(told.last_runs)) == (0, {"report"})
    assert told.tick_age < 60


def test_what_is_not_due_and_a_tick_count_for_nothing(desk: Desk) -> None:
    desk.plan("report", schedules.schedule(60.0), 5.0)
    desk.service.scheduler.tick()
    told = desk.told()
    assert (told.late.count, told.last_runs, sent(desk)) == (0, {}, 0)


def test_what_will_be_due_is_told_with_the_queue_it_goes_to(desk: Desk) -> None:
    begun = time.time()
    desk.app.conf.task_routes = {"routed": "reports"}
    desk.plan("report", schedules.schedule(600.0), 60.0, task="routed")
    desk.service.scheduler.tick()
    expected = desk.told().expected["report"]
    assert expected.queue == "reports"
    assert [round(at - begun) for at in expected.times] == pytest.approx([540, 1140, 1740], abs=1)


@pytest.mark.parametrize("schedule", [MINUTELY, schedules.schedule(1.0)], ids=["crontab", "interval"])
def test_of_what_is_due_often_so_much_is_told_and_no_more(desk: Desk, schedule: Any) -> None:
    desk.plan("report", schedule, 0.0)
    desk.service.scheduler.tick()
    times = desk.told().expected["report"].times
    assert times == sorted(set(times))
    assert len(times) == (60 if schedule is not MINUTELY else 30)


def test_an_entry_whose_options_name_a_queue_goes_there(desk: Desk) -> None:
    desk.plan("report", schedules.schedule(600.0), 0.0)
    desk.service.scheduler.schedule["report"].options = {"queue": "own"}
    desk.service.scheduler.tick()
    assert desk.told().expected["report"].queue == "own"


def test_a_schedule_that_does_not_say_is_sent_all_the_same(desk: Desk) -> None:
    class Always(schedules.BaseSchedule):
        def is_due(self, _last_run_at: datetime) -> Any:
            return schedules.schedstate(True, 60.0)

    desk.plan("always", Always(), 1.0)
    desk.service.scheduler.tick()
    told = desk.told()
    assert (told.late.count, set(told.last_runs), sent(desk)) == (0, {"always"}, 1)
    assert told.expected == {}


def test_what_cannot_be_published_is_counted_and_raised(desk: Desk) -> None:
    desk.plan("broken", schedules.schedule(1.0), 5.0)
    entry = desk.service.scheduler.schedule["broken"]
    entry.args = [object()]
    with pytest.raises(beat.SchedulingError):
        desk.service.scheduler.apply_async(entry)
    assert (desk.told().failed, sent(desk)) == (1, 0)


def test_reports_are_posted_while_it_runs(desk: Desk) -> None:
    broker = desk.app.amqp.publishers.get().broker
    wait_until(lambda: list(read_beats(broker.posted().values())), what="a report")


def test_without_the_setting_the_scheduler_is_left_alone(tmp_path: Path) -> None:
    app = Celery("beat", broker=f"sqlite:///{tmp_path}/q.db", set_as_current=False)
    service = beat.Service(app, scheduler_cls=beat.Scheduler)
    assert report_beat(service) is None
    assert "tick" not in vars(service.scheduler)
    app.conf.update(metrics_share=True, broker_url="amqp://nowhere//")
    assert report_beat(service) is None
