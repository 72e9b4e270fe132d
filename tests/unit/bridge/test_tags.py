"""Delivery tags say when a message was published, and no two are the same."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import celery
import pytest
from celery import group

from celeriac import Celery
from celeriac.bridge.metrics import message_sent_at
from celeriac.bridge.tags import TagStart, new_tag, sent_at
from celeriac.core.message import Message
from tests.stage import Stage


def test_a_tag_is_a_uuid_of_version_7_that_says_when() -> None:
    before = time.time()
    tag = new_tag()
    assert UUID(tag).version == 7
    assert before - 0.001 <= (sent_at({"delivery_tag": tag}) or 0.0) <= time.time()
    plain = f"{TagStart().now().decode()}{5:012x}"
    assert UUID(plain).version == 7
    assert before - 0.001 <= (sent_at({"delivery_tag": plain}) or 0.0) <= time.time()


def test_no_two_tags_are_the_same() -> None:
    assert len({new_tag() for _ in range(10_000)}) == 10_000
    assert len({TagStart().now() for _ in range(200)}) == 200


@pytest.mark.parametrize(
    "tag", [None, 7, "", "one", "f3b1c5de-0000-4000-8000-000000000000", "x" * 14 + "7" + "x" * 21]
)
def test_other_tags_say_nothing(tag: object) -> None:
    assert sent_at({"delivery_tag": tag}) is None


@pytest.mark.parametrize("how", ["directly", "many at once", "with options", "in a group"])
def test_however_a_task_is_called_its_message_says_when(how: str, tmp_path: Path) -> None:
    app = Celery(broker=f"sqlite:///{tmp_path}/q.db")

    @app.task(ignore_result=True, shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    before = time.time()
    for _ in range(3):  # the first one of its kind goes another way than the others
        if how == "directly":
            add.delay(1, 2)
        elif how == "many at once":
            add.delay_many([(1, 2), (3, 4), (5, 6)])
        elif how == "in a group":
            group(add.s(1, 2), add.s(3, 4)).apply_async()
        else:
            add.apply_async((1, 2), priority=3)
    broker = app.amqp.publishers.get().broker
    leases = broker.claim(["celery"], 100, owner="one", lease_for=60).leases
    times = [message_sent_at(app.due_time, lease.message) for lease in leases]
    assert len(times) in (3, 6, 9)
    assert all(before - 0.001 <= (at or 0.0) <= time.time() for at in times)


@pytest.mark.parametrize("how", ["plain", "Celery's own way"])
def test_a_message_says_when_it_was_published_or_due(
    how: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('sent')}/q.db"
    app = Celery(broker=url)
    headers = {} if how == "plain" else {"headers": {"mine": 1}}
    before = time.time()
    app.send_task("t", **headers)
    [message] = app.amqp.publishers.get().broker.oldest(["celery"])
    assert before - 0.001 <= (message_sent_at(app.due_time, message) or 0.0) <= time.time()
    eta = datetime(2030, 1, 1, tzinfo=UTC)
    app.send_task("t", eta=eta, queue="later")
    [waiting] = app.amqp.publishers.get().broker.scheduled(["later"])
    assert message_sent_at(app.due_time, waiting.message) == eta.timestamp()
    assert message_sent_at(app.due_time, Message(queue="q", payload=b"no envelope")) is None


def test_a_message_of_another_producer_says_no_time(redis_stage: Stage) -> None:
    stock = celery.Celery("stock", broker=redis_stage.url, set_as_current=False)
    stock.conf.broker_transport_options = {"global_keyprefix": redis_stage.prefix}
    stock.send_task("t")
    broker = redis_stage.broker()
    [message] = broker.oldest(["celery"])
    broker.close()
    assert message_sent_at(redis_stage.app.due_time, message) is None
