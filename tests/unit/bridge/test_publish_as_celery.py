"""Nobody can tell the fast path's messages, signals and events from Celery's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery as StockCelery
from celery import signals
from kombu.utils.json import loads as kombu_json_loads

from celeriac import Celery
from celeriac.bridge.wire import decode
from celeriac.brokers.sqlite import SqliteBroker
from tests.servers import RedisServer
from tests.unit.bridge.shop import Shop, Watching, add

JSON = frozenset({"application/json"})


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# -- Signals


Sent = dict[str, Any]


@contextmanager
def receiving(signal: Any, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def heard(app: StockCelery, **options: Any) -> list[tuple[str, Sent]]:
    """What receivers of both publish signals get for one call."""
    calls: list[tuple[str, Sent]] = []

    def before(sender: str, signal: Any, **sent: Any) -> None:
        calls.append(("before", {"sender": sender, **_frozen(sent)}))

    def after(sender: str, signal: Any, **sent: Any) -> None:
        calls.append(("after", {"sender": sender, **_frozen(sent)}))

    with receiving(signals.before_task_publish, before), receiving(signals.after_task_publish, after):
        app.send_task("shop.add", (1, 2), {"k": "v"}, **options)
    return calls


def _frozen(sent: Sent) -> Sent:
    """A copy of what was sent at the time, as the dictionaries change later."""
    sent = {key: dict(value) if isinstance(value, dict) else value for key, value in sent.items()}
    sent["headers"].pop("origin", None)
    return sent


def stock_twin(shop: Shop) -> StockCelery:
    app = StockCelery("stock", broker="memory://", set_as_current=False)
    app.conf.update(
        {key: value for key, value in shop.app.conf.changes.items() if key.startswith("task_")},
        task_default_queue="celery",
    )
    return app


SAME = {"task_id": "one", "reply_to": "somebody"}
ETA = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "other"},
        {"priority": 6, "headers": {"tenant": "a"}, "shadow": "s", "eta": ETA},
        {"expiration": 12.5},
        {"retry": False},
        {"retry": True, "retry_policy": {"max_retries": 1}},
        {"delivery_mode": "transient"},
        {"mandatory": True, "custom": "property"},
    ],
    ids=str,
)
@pytest.mark.shows("signal", "before_task_publish", "after_task_publish")
def test_receivers_of_signals_hear_what_they_hear_of_celery(shop: Shop, options: dict[str, Any]) -> None:
    ours, theirs = heard(shop.app, **options, **SAME), heard(stock_twin(shop), **options, **SAME)
    assert [name for name, _ in ours] == ["before", "after"]
    for (_, mine), (_, stock) in zip(ours, theirs, strict=True):
        assert mine == stock


def test_what_a_receiver_changes_is_in_the_message(shop: Shop) -> None:
    def change(body: Any, headers: Sent, properties: Sent, **_: Any) -> None:
        body[1]["added"] = True
        headers["tenant"] = "a"
        headers["eta"] = ETA.isoformat()
        properties["priority"] = "9"
        properties["expiration"] = 2.5
        properties["mine"] = "x"

    with receiving(signals.before_task_publish, change):
        shop.app.send_task("shop.add", (1, 2), {})
    [message] = shop.watching.seen
    delivered = decode(message.payload, JSON)
    assert delivered.kwargs == {"added": True}
    assert delivered.headers["tenant"] == "a"
    assert (message.priority, message.due) == (9, ETA.timestamp())
    assert delivered.properties["mine"] == "x"
    assert delivered.properties["expiration"] == "2500"
    assert SqliteBroker(shop.path).stats(["celery"])["celery"].delayed == 1


def test_a_receiver_that_raises_keeps_nothing_from_being_sent(shop: Shop) -> None:
    def broken(**_: Any) -> None:
        raise ValueError("receiver")

    with receiving(signals.before_task_publish, broken), receiving(signals.after_task_publish, broken):
        assert shop.took_fast_path()
    assert shop.ready() == 1


class Dispatcher:
    """Stands where an app keeps its event dispatcher."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Sent, Sent]] = []

    def publish(self, type_: str, fields: Sent, producer: Any, **options: Any) -> None:
        fields = {key: value for key, value in fields.items() if key not in ("uuid", "root_id")}
        self.published.append((type_, fields, options))


@pytest.mark.parametrize("options", [{}, {"queue": "other", "retry": False}], ids=str)
@pytest.mark.shows("setting", "task_send_sent_event")
def test_the_sent_event_is_celerys(shop: Shop, options: Sent) -> None:
    ours, theirs = Dispatcher(), Dispatcher()
    shop.app.conf.task_send_sent_event = True
    shop.app.send_task("shop.add", (1, 2), event_dispatcher=ours, **options)
    stock_twin(shop).send_task("shop.add", (1, 2), event_dispatcher=theirs, **options)
    assert ours.published == theirs.published
    assert len(ours.published) == 1


def test_no_event_is_sent_unasked(shop: Shop) -> None:
    ours = Dispatcher()
    shop.app.send_task("shop.add", (1, 2), event_dispatcher=ours)
    assert ours.published == []


def test_the_sent_event_reaches_who_listens(shop: Shop) -> None:
    shop.app.conf.task_send_sent_event = True
    events: list[Sent] = []
    with shop.app.connection_for_read() as connection:
        receiver = shop.app.events.Receiver(connection, handlers={"task-sent": events.append})
        with receiver.consumer_context() as (listening, _, _):
            shop.add.delay(1, 2)
            listening.drain_events(timeout=10)
    assert [(event["name"], event["queue"]) for event in events] == [("shop.add", "celery")]


# -- Bytes


class Twins:
    """Celeriac's and Celery's app, configured alike, on one Redis with prefixes of their own."""

    def __init__(self, redis: RedisServer, **configuration: Any) -> None:
        self.redis = redis
        self.watching = Watching()
        self.apps: dict[str, StockCelery] = {
            "ours": Celery("shop", broker=redis.url, set_as_current=False, layers=[self.watching]),
            "theirs": StockCelery("shop", broker=redis.url, set_as_current=False),
        }
        for app in self.apps.values():
            app.conf.update(configuration, broker_transport_options={"global_keyprefix": f"{uuid4().hex}:"})
            app.task(add, name="shop.add", shared=False)

    def envelopes(self, call: Callable[[StockCelery], object], queue: str = "celery") -> list[Sent]:
        """The message that the call puts into Redis with either app; the one of stock comes second."""
        found = []
        for app in self.apps.values():
            call(app)
            channel = app.connection_for_read().default_channel
            stored = channel._get(queue)
            # Whatever stock does not understand it would not have taken from its list.
            found.append(kombu_json_loads(json.dumps(stored)))
        assert len(self.watching.seen) == 1
        return found


def comparable(envelope: Sent) -> Sent:
    """The envelope with its body decoded, and without what is different in each message."""
    tag = envelope["properties"].pop("delivery_tag")
    assert len(tag) == 36
    envelope["headers"].pop("origin", None)
    if envelope["content-type"] == "application/json":
        delivered = decode(json.dumps(envelope).encode(), JSON)
        envelope["body"] = [delivered.args, delivered.kwargs, delivered.embed]
    return envelope


@pytest.mark.parametrize("protocol", [2, 1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": 3},
        {"priority": 15},
        {"queue": "other", "routing_key": "ignored"},
        {"headers": {"tenant": "a", "n": [1, {"x": None}]}},
        {"eta": ETA, "shadow": "other name"},
        {"expiration": 3},
        {"delivery_mode": "transient"},
        {"delivery_mode": 2, "serializer": "json"},
        {"serializer": "pickle"},
        {"time_limit": 10, "soft_time_limit": 5, "ignore_result": True},
        {"link": {"task": "shop.then"}, "link_error": {"task": "shop.sorry"}},
        {"stamped_headers": ["order"], "order": ["a"]},
        {"mandatory": True, "immediate": True, "mine": "property"},
        {"retries": 3, "group_id": "g", "group_index": 1, "root_id": "r", "parent_id": "p"},
    ],
    ids=str,
)
def test_the_envelope_is_celerys_field_by_field(redis: RedisServer, options: Sent, protocol: int) -> None:
    twins = Twins(redis, task_protocol=protocol)
    ours, theirs = twins.envelopes(
        lambda app: app.send_task("shop.add", (1, "zwei"), {"k": [None]}, **options, **SAME),
        options.get("queue", "celery"),
    )
    assert comparable(ours) == comparable(theirs)


def test_an_expiry_is_told_in_milliseconds_as_celery_does(redis: RedisServer) -> None:
    envelopes = Twins(redis).envelopes(lambda app: app.send_task("shop.add", (1, 2), expires=ETA, **SAME))
    ours, theirs = (int(envelope["properties"].pop("expiration")) for envelope in envelopes)
    assert ours == pytest.approx(theirs, abs=20_000)
    assert comparable(envelopes[0]) == comparable(envelopes[1])


@pytest.mark.parametrize("options", [{}, {"priority": 6}, {"countdown": None}], ids=str)
def test_so_it_is_when_called_through_the_task(redis: RedisServer, options: Sent) -> None:
    twins = Twins(redis)
    ours, theirs = twins.envelopes(lambda app: app.tasks["shop.add"].apply_async((1, 2), **options, **SAME))
    assert comparable(ours) == comparable(theirs)


@pytest.mark.shows("setting", "task_default_priority", "task_default_delivery_mode")
def test_so_it_is_with_priorities_and_modes_set_for_the_app(redis: RedisServer) -> None:
    twins = Twins(redis, task_default_priority=7, task_default_delivery_mode="transient")
    ours, theirs = twins.envelopes(lambda app: app.send_task("shop.add", (1, 2), **SAME))
    assert comparable(ours) == comparable(theirs)
