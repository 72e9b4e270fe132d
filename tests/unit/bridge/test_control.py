"""What remote control is told of an engine's tasks, whatever lies in its queues and journals."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state as worker_state
from celery.worker.control import Panel

from celeriac.bridge.control import active, engine_handlers, query_task, reserved, revoke, scheduled
from celeriac.bridge.control import revoke_by_stamped_headers as revoke_stamps
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.message import Message
from celeriac.engine.note import Note
from celeriac.engine.notices import AnyNotice, StampsRevoked
from tests.unit.bridge.bench import HOST, Bench


class Panelled:
    """An app, a broker, and the notes of shards, where remote control's handlers look for them."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.broker = SqliteBroker(self.bench.path)
        self.notes: list[Note] = []
        self.told: list[AnyNotice] = []
        engine = SimpleNamespace(
            broker=self.broker,
            queues=["celery"],
            notes=lambda: self.notes,
            tell=self.told.append,
            terminate_with=lambda id_, signum: None,
        )
        controller = SimpleNamespace(engine=engine)
        self.state: Any = SimpleNamespace(
            app=self.bench.app, hostname=HOST, consumer=SimpleNamespace(controller=controller), tset=set
        )

    def note(self, text: bytes) -> None:
        self.notes.append(Note(f"lease-{len(self.notes)}", f"job-{len(self.notes)}", text))

    def run(self, name: str, *args: Any) -> bytes:
        """What a shard says of a call of this task that runs."""
        return self.bench.executor.describe(self.bench.executor.decode(self.bench.lease(name, *args)))

    def delay(self, name: str, *args: Any, **options: Any) -> None:
        message = self.bench.lease(name, *args, **options).message
        due = time.time() + 60
        self.broker.send([Message(queue="celery", payload=message.payload, priority=4, due=due)])


@pytest.fixture
def panelled(tmp_path: Path) -> Panelled:
    return Panelled(tmp_path)


@pytest.mark.shows("control command", "scheduled")
def test_lists_what_waits(panelled: Panelled) -> None:
    panelled.delay("add", 1, "two", headers={"eta": "2030-01-01T00:00:00+00:00"})
    [entry] = scheduled(panelled.state)
    assert (entry["eta"], entry["priority"]) == ("2030-01-01T00:00:00+00:00", 6)  # as in Celery
    assert (entry["request"]["name"], entry["request"]["args"]) == ("add", [1, "two"])


def test_one_odd_message_does_not_hide_the_others(panelled: Panelled) -> None:
    panelled.delay("add", 1, 2, headers={"expires": "never ever"})
    panelled.delay("gone")
    panelled.broker.send([Message(queue="celery", payload=b"nonsense", due=time.time() + 60)])
    panelled.delay("add", 3, 4)
    assert [entry["request"]["args"] for entry in scheduled(panelled.state)] == [[3, 4]]


def test_lists_what_runs(panelled: Panelled) -> None:
    panelled.note(panelled.run("add", 1, "two"))
    id_ = panelled.bench.id("add")
    [told] = active(panelled.state)
    assert (told["id"], told["name"], told["args"]) == (id_, "add", [1, "two"])
    [told] = active(panelled.state, safe=True)
    assert (told["id"], told["args"]) == (id_, "(1, 'two')")
    assert query_task(panelled.state, [id_, "other"])[id_][0] == "active"


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b'{"id": "a',
        b"\xff\xfe{",
        b"[]",
        b"{}",
        b'{"__type__": "datetime", "__value__": "soon"}',
        b'{"__type__": "datetime", "__value__": "2030-01-01"}',
    ],
)
def test_one_odd_note_does_not_hide_the_others(panelled: Panelled, odd: bytes) -> None:
    for text in (odd, panelled.run("add", 1, 2), odd, panelled.run("whoami"), odd):
        panelled.note(text)
    assert {told["name"] for told in active(panelled.state)} == {"add", "whoami"}


def test_arguments_that_json_does_not_know_hide_no_other_task(panelled: Panelled) -> None:
    odd = json.loads(panelled.run("add", 1, 2)) | {"args": [{"__type__": "no such", "__value__": 1}]}
    panelled.note(json.dumps(odd).encode())
    panelled.note(panelled.run("whoami"))
    assert [told["name"] for told in active(panelled.state)] == ["whoami"]


def test_what_has_ended_is_no_longer_listed(panelled: Panelled) -> None:
    panelled.note(panelled.run("add", 1, 2))
    assert len(active(panelled.state)) == 1
    panelled.notes.clear()
    assert active(panelled.state) == []
    assert query_task(panelled.state, [panelled.bench.id("add")]) == {}


def test_lists_nothing_as_reserved(panelled: Panelled) -> None:
    assert reserved(panelled.state) == []


def test_every_command_of_celery_is_answered() -> None:
    handlers = engine_handlers()
    assert handlers.keys() >= Panel.data.keys()
    assert handlers["ping"] is Panel.data["ping"]
    assert handlers["dump_active"] is handlers["active"] is active
    assert handlers["dump_reserved"] is handlers["reserved"] is reserved
    assert handlers["revoke"] is revoke


@pytest.fixture
def no_stamps() -> Iterator[None]:
    """Nothing is revoked by its stamps, before and after, nor by its id before."""
    worker_state.revoked.clear()
    worker_state.revoked_stamps.clear()
    yield
    worker_state.revoked_stamps.clear()


@pytest.mark.usefixtures("no_stamps")
@pytest.mark.shows("control command", "revoke_by_stamped_headers")
def test_shards_know_the_revoked_stamps_that_the_worker_knows_and_no_others(panelled: Panelled) -> None:
    revoke_stamps(panelled.state, {"tenant": ["acme", 7]})
    revoke_stamps(panelled.state, ["tenant=tiny", "shop=3"])
    assert panelled.told[-1] == StampsRevoked({"tenant": ["acme", 7, "tiny"], "shop": ["3"]})
    worker_state.revoked_stamps.clear()  # as an app's own control command may
    revoke_stamps(panelled.state, {"tenant": "other"})
    assert panelled.told[-1] == StampsRevoked({"tenant": ["other"]})


@pytest.mark.usefixtures("no_stamps")
def test_a_shard_forgets_the_stamps_that_are_no_longer_revoked(panelled: Panelled) -> None:
    bench = panelled.bench
    bench.orders.heed(StampsRevoked({"tenant": ["acme", 7], "shop": ["3"]}))
    bench.orders.heed(StampsRevoked({"tenant": ["other"]}))
    assert worker_state.revoked_stamps == {"tenant": ["other"]}
    bench.orders.heed(StampsRevoked({}))
    assert not bench.orders.attentive
