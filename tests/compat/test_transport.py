"""kombu on SQLite: exchanges, leases and queues, without a worker."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.exceptions import OperationalError

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.errors import BrokerUnavailable, ConfigurationError
from celeriac.core.message import Message
from tests.servers import wait_until

TRANSPORT = "celeriac.bridge.transport:SqliteTransport"

Connect = Callable[..., Connection]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Makes kombu connections to one and the same file."""
    made = []

    def connection(**options: Any) -> Connection:
        made.append(
            Connection(f"sqlite:///{tmp_path}/broker.db", transport=TRANSPORT, transport_options=options)
        )
        return made[-1]

    yield connection
    for each in made:
        each.release()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    """The broker behind the connections."""
    with closing(SqliteBroker(tmp_path / "broker.db")) as broker:
        yield broker


def send(connection: Connection, body: Any, queue: str = "jobs", **options: Any) -> None:
    Producer(connection.default_channel).publish(body, routing_key=queue, **options)


def receive(connection: Connection, queue: str = "jobs", timeout: float = 5, **options: Any) -> Any:
    """Return the next message of a consumer that goes on consuming."""
    got: list[Any] = []
    Consumer(connection.channel(), [Queue(queue)], on_message=got.append, **options).consume()
    connection.drain_events(timeout=timeout)
    return got[0]


def bodies(connection: Connection, *queues: Queue, count: int) -> list[Any]:
    """Return the bodies of the next messages of the queues."""
    got: list[Any] = []
    with connection.channel() as channel:
        consumer = Consumer(channel, queues, callbacks=[lambda body, _: got.append(body)], no_ack=True)
        with consumer:
            while len(got) < count:
                connection.drain_events(timeout=5)
    return got


# -- Exchanges


@pytest.mark.parametrize(
    ("kind", "reached"),
    [("direct", ["a"]), ("topic", ["a", "b"]), ("fanout", ["a", "b", "c"])],
)
def test_exchanges_of_every_type_reach_the_queues_of_other_processes(
    connect: Connect, broker: SqliteBroker, kind: str, reached: list[str]
) -> None:
    exchange = Exchange("news", kind)
    keys = {"a": "sport.ball", "b": "sport.*", "c": "politics"}
    for name, key in keys.items():
        Queue(name, exchange, routing_key=key).bind(connect().default_channel).declare()
    Producer(connect().default_channel).publish(
        "goal", exchange=exchange, routing_key="sport.ball", declare=[exchange]
    )
    assert [name for name in keys if broker.stats([name])[name].ready] == reached


def test_a_deleted_queue_gets_nothing_any_more(connect: Connect, broker: SqliteBroker) -> None:
    exchange = Exchange("news", "fanout")
    queue = Queue("a", exchange).bind(connect().default_channel)
    queue.declare()
    queue.delete()
    Producer(connect().default_channel).publish("goal", exchange=exchange, declare=[exchange])
    assert broker.stats(["a"])["a"].ready == 0
    queue.declare()
    Producer(connect().default_channel).publish("goal", exchange=exchange, declare=[exchange])
    assert broker.stats(["a"])["a"].ready == 1


# -- Messages


def test_a_message_arrives_as_it_was_sent(connect: Connect) -> None:
    send(connect(), {"n": 1}, headers={"who": "me"}, priority=3, correlation_id="7")
    message = receive(connect())
    assert message.payload == {"n": 1}
    assert message.headers["who"] == "me"
    assert message.properties["correlation_id"] == "7"
    assert message.delivery_info["routing_key"] == "jobs"
    assert not message.delivery_info.get("redelivered")


def test_lower_priorities_come_first(connect: Connect) -> None:
    for priority in (9, 0, 5, 3):
        send(connect(), priority, priority=priority)
    assert bodies(connect(), Queue("jobs"), count=4) == [0, 3, 5, 9]


def test_a_busy_queue_does_not_starve_another(connect: Connect) -> None:
    for number in range(5):
        send(connect(), f"busy {number}", queue="busy")
    send(connect(), "quiet", queue="quiet")
    assert "quiet" in bodies(connect(), Queue("busy"), Queue("quiet"), count=3)


@pytest.mark.parametrize("aware", [True, False])
def test_an_eta_is_waited_for_in_the_broker(connect: Connect, broker: SqliteBroker, aware: bool) -> None:
    eta = datetime.now(UTC) + timedelta(hours=1)
    text = (eta if aware else eta.replace(tzinfo=None)).isoformat()
    send(connect(), "later", headers={"eta": text})
    send(connect(), "now", headers={"eta": "no time at all"})
    assert broker.scheduled(["jobs"])[0].due == pytest.approx(eta.timestamp())
    assert bodies(connect(), Queue("jobs"), count=1) == ["now"]


def test_a_message_that_becomes_due_is_delivered(connect: Connect) -> None:
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    send(connect(), "x", headers={"eta": due.isoformat()})
    assert receive(connect()).payload == "x"
    assert datetime.now(UTC) >= due


def test_what_is_no_message_is_buried_and_the_next_is_delivered(
    connect: Connect, broker: SqliteBroker
) -> None:
    garbage = [b"\xff", b"[]", b"{}", b'{"properties": {"body_encoding": "base64"}, "body": "x"}']
    broker.send([Message(queue="jobs", payload=payload) for payload in garbage])
    send(connect(), "fine")
    assert receive(connect()).payload == "fine"
    assert {letter.message.payload for letter in broker.dead_letters()} == set(garbage)


def test_draining_an_empty_queue_times_out(connect: Connect) -> None:
    connection = connect()
    with pytest.raises(TimeoutError):
        receive(connection, timeout=0.05)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)


def test_sizes_and_purges_count_messages(connect: Connect) -> None:
    connection = connect()
    send(connection, 1)
    send(connection, 2, headers={"eta": "2099-01-01T00:00:00+00:00"})
    queue = Queue("jobs").bind(connection.default_channel)
    assert queue.queue_declare(passive=True).message_count == 1
    assert queue.purge() == 2
    assert queue.get() is None


# -- Leases


def counts(broker: SqliteBroker) -> tuple[int, int, int]:
    stats = broker.stats(["jobs"])["jobs"]
    return stats.ready, stats.leased, stats.dead


def test_a_message_is_leased_until_it_is_acknowledged(connect: Connect, broker: SqliteBroker) -> None:
    send(connect(), 1)
    message = receive(connect())
    assert counts(broker) == (0, 1, 0)
    thread = threading.Thread(target=message.ack)
    thread.start()
    thread.join()
    assert counts(broker) == (0, 0, 0)


@pytest.mark.parametrize(("requeue", "left"), [(True, (1, 0, 0)), (False, (0, 0, 1))])
def test_a_rejected_message_goes_back_or_to_the_dead_letters(
    connect: Connect, broker: SqliteBroker, requeue: bool, left: tuple[int, int, int]
) -> None:
    send(connect(), 1)
    receive(connect()).reject(requeue=requeue)
    assert counts(broker) == left


def test_messages_without_acknowledgement_are_done_when_delivered(
    connect: Connect, broker: SqliteBroker
) -> None:
    connection = connect()
    send(connection, 1)
    send(connection, 2)
    assert receive(connection, no_ack=True).payload == 1
    assert Queue("jobs").bind(connection.default_channel).get(no_ack=True).payload == 2
    assert counts(broker) == (0, 0, 0)


def test_a_closed_channel_gives_its_messages_back_in_order(connect: Connect, broker: SqliteBroker) -> None:
    for number in range(3):
        send(connect(), number)
    connection = connect()
    got: list[Any] = []
    channel = connection.channel()
    Consumer(channel, [Queue("jobs")], on_message=got.append).consume()
    for _ in range(3):
        connection.drain_events(timeout=5)
    channel.close()
    assert counts(broker) == (3, 0, 0)
    got[0].ack()  # a task that ends after its channel settles nothing
    assert bodies(connect(), Queue("jobs"), count=3) == [0, 1, 2]


def test_a_full_window_stops_delivery_until_an_acknowledgement(connect: Connect) -> None:
    send(connect(), 1)
    send(connect(), 2)
    connection = connect()
    got: list[Any] = []
    consumer = Consumer(connection.channel(), [Queue("jobs")], on_message=got.append, prefetch_count=1)
    consumer.consume()
    connection.drain_events(timeout=5)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.05)
    threading.Timer(0.1, got[0].ack).start()
    connection.drain_events(timeout=5)
    assert [message.payload for message in got] == [1, 2]


def test_a_lease_is_renewed_while_its_message_is_worked_on(connect: Connect, broker: SqliteBroker) -> None:
    connection = connect(lease_seconds=0.3)
    send(connection, 1)
    message = receive(connection)
    other = connect(lease_seconds=0.3)
    with pytest.raises(TimeoutError):  # it reaps meanwhile, and finds nothing
        receive(other, timeout=1)
    message.ack()
    assert counts(broker) == (0, 0, 0)


def test_what_a_dead_consumer_held_is_delivered_again(connect: Connect) -> None:
    send(connect(), 1)
    pid = os.fork()
    if pid == 0:
        receive(connect(lease_seconds=0.3))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    message = receive(connect(lease_seconds=0.3), timeout=10)
    assert message.delivery_info["redelivered"]
    assert message.headers["redelivered"]


def test_a_message_that_kills_its_consumers_is_buried(connect: Connect, broker: SqliteBroker) -> None:
    send(connect(), 1)
    options = {"lease_seconds": 0.3, "max_deliveries": 2}
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            receive(connect(**options), timeout=10)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    with pytest.raises(TimeoutError):
        receive(connect(**options), timeout=1)
    assert counts(broker) == (0, 0, 1)


def test_a_forked_child_that_closes_its_copy_returns_nothing(connect: Connect, broker: SqliteBroker) -> None:
    connection = connect()
    send(connection, 1)
    message = receive(connection)
    pid = os.fork()
    if pid == 0:
        connection.collect()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert counts(broker) == (0, 1, 0)
    message.ack()
    assert counts(broker) == (0, 0, 0)


def test_an_acknowledgement_that_finds_the_file_locked_is_made_later(
    connect: Connect, broker: SqliteBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.brokers.sqlite_file.PATIENCE", 0.05)
    connection = connect()
    send(connection, 1)
    message = receive(connection)
    with closing(sqlite3.connect(tmp_path / "broker.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        message.ack()
        assert counts(broker) == (0, 1, 0)
        other.execute("ROLLBACK")
    wait_until(lambda: counts(broker) == (0, 0, 0), what="the late acknowledgement")


# -- Queues that come and go


def test_a_queue_that_nobody_consumes_from_expires(connect: Connect, broker: SqliteBroker) -> None:
    exchange = Exchange("news", "fanout")
    Queue("mine", exchange, expires=0.2, auto_delete=True).bind(connect().default_channel).declare()
    assert broker.bindings("news")
    wait_until(lambda: not broker.bindings("news"), what="the end of the queue")


def test_a_consumed_queue_outlives_its_expiry_while_its_consumer_is_busy(
    connect: Connect, broker: SqliteBroker
) -> None:
    connection = connect()
    queue = Queue("mine", Exchange("news", "fanout"), expires=0.4)
    Consumer(connection.channel(), [queue], on_message=print).consume()
    until = time.monotonic() + 1.2
    while time.monotonic() < until:  # does not drain
        assert broker.bindings("news")
        time.sleep(0.05)
    broker.forget_queue("mine")  # as if the whole machine had been asleep for long
    wait_until(lambda: broker.bindings("news"), what="the queue's return")


def test_an_auto_delete_queue_ends_with_its_consumer(connect: Connect, broker: SqliteBroker) -> None:
    connection = connect()
    queue = Queue("mine", Exchange("news", "fanout"), auto_delete=True)
    consumer = Consumer(connection.channel(), [queue], on_message=print)
    consumer.consume()
    assert broker.bindings("news")
    consumer.cancel()
    assert not broker.bindings("news")


# -- Users' mistakes


def test_a_folder_that_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    connection = Connection(f"sqlite:///{tmp_path}/no/broker.db", transport=TRANSPORT)
    with pytest.raises(OperationalError, match=r"no/broker\.db: .* see that its folder exists") as caught:
        connection.ensure_connection(max_retries=1, interval_start=0)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, BrokerUnavailable)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite://host/file.db", "sqlite:///x.db?sync=FULL"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:"):
        Connection(url, transport=TRANSPORT).connect()


@pytest.mark.parametrize("options", [{"lease_seconds": 0}, {"max_deliveries": "many"}])
def test_a_wrong_option_is_refused(connect: Connect, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        connect(**options).connect()


def test_the_url_is_shown_as_it_was_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db?synchronous=FULL"
    assert Connection(url, transport=TRANSPORT).as_uri() == url
