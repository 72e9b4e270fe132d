"""What a task will send when it has ended is read from the message that Celery's canvas has made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from celery.worker.request import Request
from kombu.message import Message

from celeriac import Celery
from celeriac.bridge.requests import stock_request
from celeriac.bridge.sequels import sequels_of
from celeriac.bridge.wire import decode
from celeriac.brokers.connect import open_broker

JSON = frozenset({"application/json"})


def _nothing(*_arguments: Any) -> None: ...


class Told:
    """Sends a canvas, and tells what is said of its first messages."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/q.db"
        self.app = Celery("canvas", broker=self.url, backend=f"sqlite:///{folder}/r.db", set_as_current=False)
        self.app.conf.task_routes = {"reduce": {"queue": "sums"}}
        for name in ("work", "reduce"):
            self.app.task(name=name, shared=False)(_nothing)
        self.work, self.reduce = (self.app.tasks[name] for name in ("work", "reduce"))

    def of(self, canvas: Any, **options: Any) -> tuple[str, list[list[tuple[str, str, int]]]]:
        """The id that the canvas's first message has, and what is said of each that was sent."""
        canvas.apply_async(**options)
        claimed = open_broker(self.url, {}).claim(["celery", "sums"], 100, owner="o", lease_for=60)
        messages = [
            decode(lease.message.payload, frozenset({"application/json"})) for lease in claimed.leases
        ]
        requests = [stock_request(self.app, self.work, one, None, "w@test") for one in messages]
        return requests[0].id, [sequels_of(self.app, request) for request in requests]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_a_task_by_itself_is_followed_by_nothing(told: Told) -> None:
    assert told.of(told.work.si())[1] == [[]]


def test_a_chain_is_followed_by_its_next_link_only(told: Told) -> None:
    first, [said] = told.of(chain(told.work.si(), told.reduce.si(), told.work.si()))
    assert said == [(first, "sums", 1)]


def test_a_group_behind_a_task_is_counted_by_queue(told: Told) -> None:
    many = group([told.work.si() for _ in range(30)] + [told.reduce.si().set(queue="own")])
    first, [said] = told.of(chain(told.work.si(), many))
    assert sorted(said) == [(first, "celery", 30), (first, "own", 1)]


def test_a_chord_behind_a_task_is_its_header(told: Told) -> None:
    first, [said] = told.of(chain(told.work.si(), chord([told.work.si()] * 5, told.reduce.si())))
    assert said == [(first, "celery", 5)]


def test_callbacks_come_too(told: Told) -> None:
    first, [said] = told.of(told.work.si(), link=[told.reduce.si(), told.work.si()])
    assert sorted(said) == [(first, "celery", 1), (first, "sums", 1)]


def test_all_parts_of_a_chord_tell_of_the_same_body(told: Told) -> None:
    body = chain(told.reduce.si(), told.work.si())
    _, said = told.of(chord([told.work.si() for _ in range(3)], body))
    assert len(said) == 3
    assert len({one for part in said for one in part}) == 1
    [(_group, queue, count)] = said[0]
    assert (queue, count) == ("sums", 1)


def test_what_cannot_be_understood_is_followed_by_nothing(told: Told) -> None:
    embed = {"callbacks": [None, "text"], "chain": ["text"], "chord": 7}
    message = Message(body=((), {}, embed), headers={"id": "one", "task": "work"})
    request = Request(message, app=told.app, task=told.work, body=message.body, decoded=True)
    assert sequels_of(told.app, request) == []
