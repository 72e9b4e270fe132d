"""Which messages take the fast path, and what becomes of them when the broker is away."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import signals
from kombu import Connection, Exchange, Queue
from kombu.common import Broadcast
from kombu.exceptions import OperationalError

from celeriac import Celery
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.message import Message
from celeriac.core.publisher import BrokerPublisher
from tests.servers import RedisServer, free_port
from tests.unit.bridge.shop import Shop, Watching

Sent = dict[str, Any]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# -- Which path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "celery"},
        {"queue": Queue("celery", Exchange("celery"), routing_key="celery")},
        {"exchange": None, "declare": None, "compression": None, "exchange_type": None},
        {"exchange_type": "direct"},
        {"routing_key": "elsewhere"},
        {"priority": 5, "expires": 60, "headers": {"x": 1}, "serializer": "json", "delivery_mode": 1},
        {"serializer": "pickle"},
        {"retry": False},
        {"mandatory": True, "immediate": True, "confirm_timeout": 3},
    ],
    ids=str,
)
def test_to_a_queue_of_the_apps_own_broker_goes_fast(shop: Shop, options: dict[str, Any]) -> None:
    assert shop.took_fast_path(**options)
    assert shop.ready() == 1


@pytest.mark.parametrize(
    "options",
    [
        {"exchange": "celery", "routing_key": "celery"},
        {"exchange": Exchange("celery"), "routing_key": "celery"},
        {"declare": [Queue("other", Exchange("other"), routing_key="other")]},
        {"compression": "gzip"},
        {"exchange_type": "topic", "exchange": "celery", "routing_key": "celery"},
        {"timeout": 5},
    ],
    ids=str,
)
def test_whatever_else_goes_as_celery_sends_it(shop: Shop, options: dict[str, Any]) -> None:
    shop.app.send_task("shop.add", (0, 0))  # declares the queue and its binding
    shop.app.amqp.queues["celery"].bind(shop.app.connection_for_write().default_channel).declare()
    before = shop.ready()
    assert not shop.took_fast_path(**options)
    assert shop.ready() == before + 1


@pytest.mark.shows("setting", "task_compression")
def test_a_compressing_app_sends_as_celery_does(tmp_path: Path) -> None:
    shop = Shop(tmp_path, task_compression="zlib")
    assert not shop.took_fast_path()
    assert shop.ready() == 1


def test_a_fan_out_queue_reaches_all_who_listen(tmp_path: Path) -> None:
    shop = Shop(tmp_path, task_queues=[Broadcast("everybody"), Queue("celery")])
    listeners = [Broadcast("everybody", queue=f"listener-{number}") for number in range(2)]
    with shop.app.producer_pool.acquire() as producer:  # kombu fans out only what it has seen declared
        for listener in listeners:
            listener.bind(producer.channel).declare()
    assert not shop.took_fast_path(queue="everybody")
    assert [shop.ready(listener.name) for listener in listeners] == [1, 1]


def test_a_topic_queue_goes_as_celery_sends_it(tmp_path: Path) -> None:
    orders = Queue("orders", Exchange("orders", type="topic"), routing_key="order.#")
    shop = Shop(tmp_path, task_queues=[orders, Queue("celery")])
    assert not shop.took_fast_path(queue="orders", routing_key="order.new")
    assert shop.ready("orders") == 1


def test_routes_lead_to_their_queue(tmp_path: Path) -> None:
    shop = Shop(tmp_path, task_routes={"shop.*": {"queue": "orders", "priority": 4}})
    assert shop.took_fast_path()
    assert [(message.queue, message.priority) for message in shop.watching.seen] == [("orders", 4)]


def test_another_broker_gets_what_is_sent_there(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    other = Shop(folder)
    with other.app.connection_for_write() as connection:
        assert not shop.took_fast_path(connection=connection)
        with other.app.amqp.Producer(connection) as producer:
            assert not shop.took_fast_path(producer=producer)
    assert (shop.ready(), other.ready()) == (0, 2)


@pytest.mark.shows("task option", "connection")
def test_a_connection_of_ones_own_to_the_same_broker_is_as_good(shop: Shop) -> None:
    with shop.app.connection_for_write() as connection:
        assert shop.took_fast_path(connection=connection)


def test_other_keys_on_the_same_server_are_another_broker(redis: RedisServer) -> None:
    prefix = f"{uuid4().hex}:"
    watching = Watching()
    app = Celery("shop", broker=redis.url, set_as_current=False, layers=[watching])
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    theirs = f"{uuid4().hex}:"
    with Connection(redis.url, transport_options={"global_keyprefix": theirs}) as connection:
        app.send_task("shop.add", (1, 2), connection=connection)
        assert watching.seen == []
        assert connection.default_channel._size("celery") == 1
    app.send_task("shop.add", (1, 2))
    assert len(watching.seen) == 1


def test_the_fast_path_survives_a_message_that_celery_sent(shop: Shop) -> None:
    """Sending with a retry policy writes that into the transport options of kombu's connection."""
    assert not shop.took_fast_path(compression="gzip")
    assert shop.took_fast_path()


def test_a_broker_of_somebody_else_is_left_to_celery() -> None:
    watching = Watching()
    app = Celery("shop", broker="memory://", set_as_current=False, layers=[watching])
    app.conf.task_default_queue = queue = uuid4().hex
    app.send_task("shop.add", (1, 2))
    assert watching.seen == []
    assert app.connection_for_read().default_channel._size(queue) == 1


def test_priority_and_due_time_are_told_to_the_broker(shop: Shop) -> None:
    eta = datetime(2030, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)
    shop.app.send_task("shop.add", (1, 2), eta=eta, priority=3)
    before = time.time()
    shop.app.send_task("shop.add", (1, 2), countdown=60, priority=15)
    shop.app.send_task("shop.add", (1, 2), priority=-4)
    shop.app.send_task("shop.add", (1, 2), priority="7")
    first, second, *rest = shop.watching.seen
    assert (first.priority, first.due) == (3, eta.timestamp())
    assert (second.priority, second.due is not None) == (9, True)
    assert before + 60 <= (second.due or 0) <= time.time() + 60.001
    assert [(message.priority, message.due) for message in rest] == [(0, None), (7, None)]


# -- A broker that is not there


def dead_shop(**configuration: Any) -> tuple[Celery, Watching]:
    watching = Watching()
    url = f"redis://127.0.0.1:{free_port()}/0"
    app = Celery("shop", broker=url, set_as_current=False, layers=[watching])
    app.conf.update(configuration)
    return app, watching


POLICY = {"interval_start": 0, "interval_step": 0.001, "interval_max": 0.002}


@pytest.mark.parametrize(
    ("options", "tries"),
    [
        ({"retry": False}, 1),
        ({"retry_policy": {**POLICY, "max_retries": 0}}, 1),
        ({"retry_policy": {**POLICY, "max_retries": 3}}, 4),
        ({"retry": True, "retry_policy": {**POLICY, "max_retries": 1, "retry_errors": None}}, 2),
    ],
    ids=str,
)
@pytest.mark.shows("task option", "retry_policy")
def test_a_dead_broker_is_tried_as_often_as_the_policy_says(options: Sent, tries: int) -> None:
    app, watching = dead_shop()
    with pytest.raises(OperationalError, match="Redis"):
        app.send_task("shop.add", (1, 2), **options)
    assert len(watching.seen) == tries
    assert len({message.payload for message in watching.seen}) == 1


@pytest.mark.shows("setting", "task_publish_retry_policy", "task_publish_retry")
def test_the_policy_of_the_app_counts() -> None:
    app, watching = dead_shop(task_publish_retry_policy={**POLICY, "max_retries": 2})
    with pytest.raises(OperationalError):
        app.send_task("shop.add", (1, 2))
    app.conf.task_publish_retry = False
    with pytest.raises(OperationalError):
        app.send_task("shop.add", (1, 2))
    assert len(watching.seen) == 3 + 1


def test_nothing_is_told_as_sent_that_was_not() -> None:
    app, _ = dead_shop()
    calls: list[str] = []

    def before(**_: Any) -> None:
        calls.append("before")

    def after(**_: Any) -> None:
        calls.append("after")

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    with pytest.raises(OperationalError):
        app.send_task("shop.add", (1, 2), retry=False)
    assert calls == ["before"]


def test_arguments_that_cannot_be_serialized_are_the_callers_error(shop: Shop) -> None:
    with pytest.raises(Exception, match="not JSON serializable"):
        shop.app.send_task("shop.add", (object(),))
    assert shop.ready() == 0


def test_a_publisher_may_be_replaced(shop: Shop) -> None:
    """What travels through layers is what the broker gets."""
    sender = BrokerPublisher(SqliteBroker(shop.path), [shop.watching])
    sender.publish([Message(queue="celery", payload=b"{}")])
    assert shop.ready() == 1
    assert [message.payload for message in shop.watching.seen] == [b"{}"]
