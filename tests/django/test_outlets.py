"""What leaves an outbox, at real brokers: Redis, SQLite's file and RabbitMQ."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Exchange, Queue

from celeriac.bridge.outlet import AppOutlet
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.message import Message
from celeriac.core.outbox import Outgoing
from tests.django.desk import make_app
from tests.servers import RedisServer


class Kept:
    """An outbox in memory: everything is kept, whether there is a transaction or not."""

    def __init__(self) -> None:
        self.outgoing: list[Outgoing] = []

    def transaction(self, using: str | None = None) -> str | None:
        return "memory"

    def add(self, database: str, outgoing: Any) -> None:
        self.outgoing += outgoing


def render(app: Any, *args: Any, **options: Any) -> Outgoing:
    """What would be kept of a call."""
    from celeriac.bridge.outgoing import Departures

    kept = Kept()
    app.framework._departures, app.framework._decided = Departures(kept), True
    app.tasks["ship"].apply_async(args, **options)
    [found] = kept.outgoing
    return found


@pytest.fixture(params=["redis", "sqlite"])
def own(request: pytest.FixtureRequest, tmp_path: Path, project: Any) -> Any:
    """An app on a broker of Celeriac's."""
    if request.param == "sqlite":
        return make_app(f"sqlite:///{tmp_path}/broker.db")
    redis: RedisServer = request.getfixturevalue("redis")
    prefix = f"{uuid.uuid4().hex[:8]}:"
    return make_app(redis.url, broker_transport_options={"global_keyprefix": prefix})


@pytest.fixture(params=[{}, {"confirm_publish": True}], ids=["", "confirms"])
def rabbit(request: pytest.FixtureRequest, rabbitmq: str, project: Any) -> Iterator[Any]:
    """An app on RabbitMQ, with a queue of its own."""
    name = uuid.uuid4().hex[:8]
    app = make_app(rabbitmq, task_default_queue=name, broker_transport_options=request.param)
    yield app
    with app.connection_for_write() as connection:
        Queue(name)(connection.default_channel).delete()


def received(app: Any, queue: str | None = None) -> list[Any]:
    """The first arguments of the messages in a queue, read with kombu as Celery's own worker does."""
    found = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        bound = app.amqp.queues[queue or app.conf.task_default_queue](channel)
        bound.declare()
        while (message := bound.get(accept=["json", "pickle"])) is not None:
            message.ack()
            found.append(message.payload[0][0])
    return found


def test_a_batch_arrives_in_its_order(own: Any) -> None:
    batch = [render(own, number) for number in range(30)]
    assert AppOutlet(own).publish(batch) == {}
    assert received(own) == list(range(30))


def test_queues_and_keys_keep_their_order(own: Any) -> None:
    queues = ["one", "two", "one", "two", "one"]
    batch = [render(own, number, queue=queue, ordering_key="key") for number, queue in enumerate(queues)]
    assert AppOutlet(own).publish(batch) == {}
    assert received(own, "one") == [0, 2, 4]
    assert received(own, "two") == [1, 3]


def test_what_a_layer_refuses_harms_no_other(own: Any) -> None:
    from celeriac.core.layer import Layer

    class Strict(Layer):
        def publish(self, messages: Any, proceed: Any) -> None:
            if any(b"forbidden" in message.payload for message in messages):
                raise ValueError("forbidden here")
            proceed(messages)

    own.layers = (Strict(),)
    batch = [render(own, "fine"), render(own, "no", shadow="forbidden"), render(own, "good")]
    assert AppOutlet(own).publish(batch) == {1: "ValueError: forbidden here"}
    assert received(own) == ["fine", "good"]
    keyed = [
        render(own, "no", shadow="forbidden", ordering_key="a"),
        render(own, "after", ordering_key="a"),
        render(own, "of another", ordering_key="b"),
    ]
    assert list(AppOutlet(own).publish(keyed)) == [0]
    assert received(own) == ["of another"]


def test_a_broker_that_is_away(project: Any) -> None:
    for url in ("redis://127.0.0.1:1/0", "amqp://guest:guest@127.0.0.1:1//"):
        app = make_app(url)
        with pytest.raises(BrokerUnavailable):
            AppOutlet(app, 0.5).publish([render(app, 1)])


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_rabbitmq_gets_the_very_bytes(rabbit: Any, serializer: str, compression: str | None) -> None:
    outgoing = render(rabbit, {"a": 1}, serializer=serializer, compression=compression, priority=3)
    assert AppOutlet(rabbit).publish([outgoing]) == {}
    with rabbit.connection_for_read() as connection, connection.channel() as channel:
        message = rabbit.amqp.queues[rabbit.conf.task_default_queue](channel).get(accept=["json", "pickle"])
    assert message.payload[0] in (({"a": 1},), [{"a": 1}])
    assert message.headers["id"] == outgoing.id
    assert message.properties["priority"] == 3
    assert message.properties["correlation_id"] == outgoing.id
    assert message.content_type.endswith(serializer if serializer == "json" else "python-serialize")


def test_rabbitmq_confirms_a_window_at_a_time(rabbit: Any) -> None:
    batch = [render(rabbit, number) for number in range(300)]
    outlet = AppOutlet(rabbit)
    assert outlet.publish(batch) == {}
    assert outlet.publish([render(rabbit, "more")]) == {}
    assert received(rabbit) == [*range(300), "more"]


def test_rabbitmq_refuses_what_reaches_no_queue(rabbit: Any) -> None:
    rabbit.amqp.queues.add(Queue("bound", Exchange("shipping", "topic"), routing_key="order.#"))
    batch = [
        render(rabbit, "a", exchange="shipping", routing_key="order.placed"),
        render(rabbit, "b", exchange="shipping", routing_key="elsewhere"),
        render(rabbit, "c"),
        render(rabbit, "d", exchange="not there", routing_key="x"),
        render(rabbit, "e", exchange="not there", routing_key="x", ordering_key="k"),
        render(rabbit, "f", ordering_key="k"),
        render(rabbit, "g", ordering_key="other"),
    ]
    refused = AppOutlet(rabbit).publish(batch)
    assert sorted(refused) == [1, 3, 4]
    assert "reaches no queue at shipping/elsewhere: NO_ROUTE" in refused[1]
    assert "not there" in refused[3]
    assert received(rabbit, "bound") == ["a"]
    assert received(rabbit) == ["c", "g"]


def test_a_stored_message_that_cannot_be_read_is_refused(rabbit: Any) -> None:
    broken = Outgoing(id="1", task="ship", message=Message(queue="celery", payload=b"nonsense"))
    batch = [broken, render(rabbit, "good")]
    refused = AppOutlet(rabbit).publish(batch)
    assert list(refused) == [0]
    assert received(rabbit) == ["good"]


def test_rabbitmq_that_went_away_is_found_again(rabbit: Any) -> None:
    outlet = AppOutlet(rabbit)
    assert outlet.publish([render(rabbit, 1)]) == {}
    connection = outlet._open().kombu._connection
    connection.connection.transport.sock.shutdown(2)
    with pytest.raises(BrokerUnavailable):
        outlet.publish([render(rabbit, 2)])
    assert outlet.publish([render(rabbit, 3)]) == {}
    assert received(rabbit) == [1, 3]


def test_what_is_kept_was_rendered_without_a_connection(project: Any) -> None:
    app = make_app("amqp://guest:guest@127.0.0.1:1//")
    assert isinstance(render(app, "x", countdown=5).message.due, float)
