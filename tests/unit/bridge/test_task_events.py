"""Events that cannot be sent hold up nothing, wait a little, and are dropped in the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from celeriac import Celery
from celeriac.bridge import task_events
from celeriac.bridge.task_events import TaskEvents


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    return Celery("events", broker=f"sqlite:///{tmp_path}/away/broker.db", set_as_current=False)


@pytest.fixture
def events(app: Celery) -> TaskEvents:
    return TaskEvents(app, "one@test", wanted=True, pid=1)


JOB = SimpleNamespace(id="an id", task=SimpleNamespace(send_events=True))


def waiting(events: TaskEvents) -> int:
    return len(events.dispatcher._group_buffer["task"])


def test_no_connection_is_made_before_there_is_something_to_tell(events: TaskEvents) -> None:
    events.flush()
    assert events._dispatcher is None


def test_a_task_that_sends_no_events_is_not_told_of(events: TaskEvents) -> None:
    events.started(SimpleNamespace(id="an id", task=SimpleNamespace(send_events=False)))
    events.started(JOB)
    assert waiting(events) == 1


def test_what_cannot_be_sent_is_kept_for_the_next_time(
    events: TaskEvents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_events, "_RETRY_EVERY", 0.0)
    events.started(JOB)
    events.flush()
    assert waiting(events) == 1
    (tmp_path / "away").mkdir()
    events.flush()
    assert waiting(events) == 0


def test_and_dropped_in_the_end(events: TaskEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_events, "_RETRY_EVERY", 0.0)
    monkeypatch.setattr(task_events, "_GIVE_UP_AFTER", 0.0)
    events.started(JOB)
    events.flush()
    events.flush()
    assert waiting(events) == 0


def test_the_last_events_are_sent_after_nobody_wants_more(events: TaskEvents, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    events.started(JOB)
    events.wanted = False
    events.started(JOB)
    assert events.dispatcher is None
    events.flush()
    assert events._dispatcher is None
