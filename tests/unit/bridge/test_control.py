"""What remote control is told of an engine's tasks, whatever lies in its queues and journals."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.control import Panel

from celeriac.bridge.control import active, engine_handlers, reserved, scheduled, unsupported
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.message import Message
from tests.unit.bridge.bench import HOST, Bench


class Panelled:
    """An app, a broker, and the notes of shards, where remote control's handlers look for them."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.broker = SqliteBroker(self.bench.path)
        self.notes: list[bytes] = []
        engine = SimpleNamespace(broker=self.broker, queues=["celery"], notes=lambda: self.notes)
        controller = SimpleNamespace(engine=engine)
        self.state: Any = SimpleNamespace(
            app=self.bench.app, hostname=HOST, consumer=SimpleNamespace(controller=controller)
        )

    def delay(self, name: str, *args: Any, **options: Any) -> None:
        message = self.bench.lease(name, *args, **options).message
        due = time.time() + 60
        self.broker.send([Message(queue="celery", payload=message.payload, priority=4, due=due)])


@pytest.fixture
def panelled(tmp_path: Path) -> Panelled:
    return Panelled(tmp_path)


def test_lists_what_waits(panelled: Panelled) -> None:
    panelled.delay("add", 1, "two", headers={"eta": "2030-01-01T00:00:00+00:00"})
    [entry] = scheduled(panelled.state)
    assert (entry["eta"], entry["priority"]) == ("2030-01-01T00:00:00+00:00", 4)
    assert (entry["request"]["name"], entry["request"]["args"]) == ("add", [1, "two"])


def test_one_odd_message_does_not_hide_the_others(panelled: Panelled) -> None:
    panelled.delay("add", 1, 2, headers={"expires": "never ever"})
    panelled.delay("gone")
    panelled.broker.send([Message(queue="celery", payload=b"nonsense", due=time.time() + 60)])
    panelled.delay("add", 3, 4)
    assert [entry["request"]["args"] for entry in scheduled(panelled.state)] == [[3, 4]]


def test_lists_what_runs_and_skips_a_note_that_is_being_written(panelled: Panelled) -> None:
    whole = json.dumps({"id": "a", "name": "add"}).encode()
    panelled.notes += [whole[:9], b"\xff\xfe{", b"", b'{"__type__": "datetime", "__value__": "so', whole]
    panelled.notes += [b'{"__type__": "datetime", "__value__": "soon"}']
    assert active(panelled.state) == [{"id": "a", "name": "add"}]


def test_lists_nothing_as_reserved(panelled: Panelled) -> None:
    assert reserved(panelled.state) == []


def test_every_command_of_celery_is_answered() -> None:
    handlers = engine_handlers()
    assert handlers.keys() >= Panel.data.keys()
    assert handlers["ping"] is Panel.data["ping"]
    assert handlers["dump_active"] is handlers["active"] is active
    assert handlers["revoke"] is unsupported
    assert "not support" in unsupported(None)["error"]
