from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from celeriac.core.lease import DeadLetter
from celeriac.core.message import Message
from celeriac.dead.selection import Selection, read_moment


def letter(task: str = "shop.ship", task_id: str = "t1", died_at: float = 100.0) -> DeadLetter:
    envelope = {"headers": {"task": task, "id": task_id}, "properties": {}, "body": ""}
    return DeadLetter(
        id="1",
        message=Message(queue="orders", payload=json.dumps(envelope).encode()),
        reason="it ran longer than its Time Limit",
        died_at=died_at,
        deliveries=1,
    )


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(), True),
        (Selection(queues=frozenset({"orders", "mail"})), True),
        (Selection(queues=frozenset({"mail"})), False),
        (Selection(tasks=frozenset({"shop.ship"})), True),
        (Selection(tasks=frozenset({"mail.*", "shop.*"})), True),
        (Selection(tasks=frozenset({"shop"})), False),
        (Selection(task_ids=frozenset({"t1"})), True),
        (Selection(task_ids=frozenset({"t2"})), False),
        (Selection(reason="time limit"), True),
        (Selection(reason="poison"), False),
        (Selection(since=100), True),
        (Selection(since=100.1), False),
        (Selection(before=100.1), True),
        (Selection(before=100), False),
        (Selection(since=50, before=150, tasks=frozenset({"*"}), reason="ran"), True),
        (Selection(since=50, before=150, tasks=frozenset({"*"}), reason="sat"), False),
    ],
)
def test_every_criterion_given_must_hold(selection: Selection, selected: bool) -> None:
    assert (selection.find(letter()) is not None) is selected


def test_a_letter_that_nobody_can_read_has_no_task() -> None:
    broken = DeadLetter(
        id="1", message=Message(queue="q", payload=b"\xff{"), reason="broken", died_at=1, deliveries=1
    )
    found = Selection(reason="broken").find(broken)
    assert found is not None
    assert (found.told.task, found.told.task_id) == (None, None)
    assert Selection(tasks=frozenset({"?*"})).find(broken) is None


def test_a_selection_without_criteria_is_empty() -> None:
    assert not Selection()
    assert Selection(since=0.0)
    assert Selection(reason="x")


def test_a_moment_is_a_date_a_time_or_an_age() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    assert read_moment("2026-01-31T12:00Z", noon) == noon
    assert read_moment("2026-01-31T13:00+01:00", noon) == noon
    assert read_moment("2026-01-31", noon) == datetime(2026, 1, 31).astimezone().timestamp()
    assert read_moment("90m", noon) == noon - 5400
    assert read_moment("1.5h", noon) == noon - 5400
    assert read_moment("1w", noon) == read_moment("7d", noon) == noon - 604_800


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "h", "2026-13-01"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):
        read_moment(text, 0)
