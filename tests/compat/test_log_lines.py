"""The log has the lines that people look for, at the levels at which Celery writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.either import Either
from tests.servers import wait_until

MODULE = "tests.apps.signals"
WORKER = ("-c", "1")
LINE = re.compile(r"^\[[-\d]+ [\d:,]+: (?P<level>[A-Z]+)/(?P<process>[\w-]+)\] (?P<text>.*)$", re.MULTILINE)


def lines(either: Either, id_: str) -> list[tuple[str, str]]:
    """Level and text of each line that names the task, what differs in every run left out."""
    found = [(match["level"], match["text"]) for match in LINE.finditer(either.process.text)]
    return [
        (level, re.sub(r"\d+\.\d+(e-\d+)?s", "N s", text.replace(id_, "ID")))
        for level, text in found
        if id_ in text
    ]


Send = Callable[[Either], Any]
CASES: dict[str, Send] = {
    "success": lambda either: either.task("add").delay(1, 2),
    "failure": lambda either: either.task("fail").delay(),
    "expected failure": lambda either: either.task("expected").delay(),
    "retry": lambda either: either.task("again").delay(),
    "rejected": lambda either: either.task("reject").delay(),
    "ignored": lambda either: either.task("ignore").delay(),
    "expired": lambda either: either.task("add").apply_async((1, 2), expires=-1),
    "revoked": lambda either: either.task("add").apply_async((1, 2), task_id="revoked-id"),
    "shadow": lambda either: either.task("add").apply_async((1, 2), shadow="alias"),
    "soft limit": lambda either: either.task("soft").delay(),
    "hard limit": lambda either: either.task("hard").delay(),
}


@pytest.fixture(scope="module")
def said(both: dict[str, Either]) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """What both workers log of each case."""
    told: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for engine, either in both.items():
        either.app.control.revoke("revoked-id", reply=True, timeout=10, limit=1)
        ids = {case: send(either).id for case, send in CASES.items()}
        either.process.wait_log(f"Hard time limit (1s) exceeded for {MODULE}.hard[{ids['hard limit']}]")
        either.task("add").delay(1, 2).get(timeout=20)
        wait_until(lambda either=either, ids=ids: len(lines(either, ids["retry"])) >= 4)
        told[engine] = {case: lines(either, id_) for case, id_ in ids.items()}
    return told


@pytest.mark.shows("log line", "Task ... received", "Task ... succeeded in", "Task ... raised unexpected")
@pytest.mark.shows("log line", "Task ... raised expected", "Task ... retry: Retry in", "Task ... ignored")
@pytest.mark.shows("log line", "Discarding revoked task", "Soft time limit ... exceeded")
@pytest.mark.shows("log line", "Hard time limit ... exceeded")
@pytest.mark.parametrize("case", CASES)
def test_lines_of_a_task(said: dict[str, dict[str, list[tuple[str, str]]]], case: str) -> None:
    ours, stock = said["celeriac"][case], said["celery"][case]
    assert len(ours) >= 2
    assert sorted(ours) == sorted(stock)


@pytest.mark.shows("log line", "Received unregistered task of type")
@pytest.mark.shows("log line", "... ready.")
def test_an_unregistered_task(either: Either) -> None:
    either.app.send_task("no.such.task")
    either.process.wait_log("Received unregistered task of type 'no.such.task'.")
    assert f"{either.engine}@test ready." in either.process.text
