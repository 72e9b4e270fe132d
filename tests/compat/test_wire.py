"""The wire format against Celery and kombu themselves: what one writes the other reads, both ways."""

from __future__ import annotations

import base64
import bz2
import json
import pickle
import zlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery as StockCelery
from celery.worker.strategy import hybrid_to_proto2, proto1_to_proto2
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu import Connection
from kombu.exceptions import EncodeError, SerializerNotInstalled
from kombu.serialization import registry
from kombu.utils.json import dumps as kombu_json_dumps
from kombu.utils.json import loads as kombu_json_loads

from celeriac.bridge.wire import Delivered, decode, encode
from celeriac.core.errors import MalformedMessage

JSON = frozenset({"application/json"})
EVERYTHING = frozenset(
    {"application/json", "application/x-python-serialize", "application/x-msgpack", "application/x-yaml"}
)
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SERIALIZERS = ("json", "pickle", "yaml", "msgpack")


def require_serializer(name: str) -> None:
    try:
        registry.dumps([1], name)
    except SerializerNotInstalled:
        pytest.skip(f"{name} is not installed")


def stock_message(payload: bytes, accept: frozenset[str] = EVERYTHING) -> Any:
    """The message a stock worker on Redis makes of these bytes."""
    channel = Connection("memory://").channel()
    message = channel.Message(kombu_json_loads(payload), channel=channel)
    message.accept = accept
    return message


def stock_reading(payload: bytes) -> Delivered:
    """What a stock worker would run for these bytes, as its strategies see it."""
    message = stock_message(payload)
    body, headers = message.decode(), message.headers
    if isinstance(body, dict):
        convert = hybrid_to_proto2 if "task" in headers else proto1_to_proto2
        body, headers, _, _ = convert(message, body)
    args, kwargs, embed = body
    return Delivered(headers["id"], headers["task"], headers, args, kwargs, embed, message.properties)


def same(ours: object, theirs: object) -> bool:
    """Equal in value and type, NaN included."""
    return repr(ours) == repr(theirs)


def assert_same_reading(payload: bytes) -> Delivered:
    ours, theirs = decode(payload, EVERYTHING), stock_reading(payload)
    for field in ("id", "task", "headers", "args", "kwargs", "embed", "properties"):
        assert same(getattr(ours, field), getattr(theirs, field)), field
    return ours


def headers_of(task: str = "shop.add", **more: object) -> dict[str, Any]:
    return {"lang": "py", "task": task, "id": str(uuid4()), "retries": 0, **more}


def encoded(
    args: object = (),
    kwargs: object = None,
    *,
    headers: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    serializer: str = "json",
) -> bytes:
    return encode(
        (args, kwargs or {}, EMBED),
        headers=headers or headers_of(),
        properties=properties or {"correlation_id": "c", "reply_to": "r", "delivery_mode": 2, "priority": 0},
        queue="shop",
        serializer=serializer,
    )


# -- What we write, stock reads

TEXTS = st.text(st.characters(codec=None), max_size=12)
NUMBERS = st.integers() | st.integers(min_value=-(2**200), max_value=2**200) | st.floats()
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
TYPED = (
    st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
    | st.decimals()
    | st.uuids()
    | st.binary(max_size=12)
)
RICH = st.recursive(
    PLAIN | TYPED,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(RICH, max_size=4), st.dictionaries(TEXTS, RICH, max_size=4))
@settings(max_examples=100, deadline=None)
def test_stock_reads_the_arguments_we_send(args: list[Any], kwargs: dict[str, Any]) -> None:
    message = stock_message(encoded(args, kwargs))
    assert message.content_type == "application/json"
    # What JSON itself changes, kombu's JSON changes too: it is the measure.
    expected = kombu_json_loads(kombu_json_dumps([args, kwargs, EMBED]))
    assert same(message.decode(), expected)


@given(st.dictionaries(TEXTS, RICH, max_size=5), st.dictionaries(TEXTS, RICH, max_size=3))
@settings(max_examples=100, deadline=None)
def test_stock_reads_the_headers_and_properties_we_send(
    headers: dict[str, Any], properties: dict[str, Any]
) -> None:
    headers = {**headers_of(), **{f"x-{key}": value for key, value in headers.items()}}
    properties = {"priority": 3, **{f"x-{key}": value for key, value in properties.items()}}
    payload = encoded(headers=headers, properties=properties)
    message = stock_message(payload)
    assert same(message.headers, kombu_json_loads(kombu_json_dumps(headers)))
    received = {key: value for key, value in message.properties.items() if key in properties}
    assert same(received, kombu_json_loads(kombu_json_dumps(properties)))
    assert_same_reading(payload)


class Text(str):
    """As Django's SafeString."""

    __slots__ = ()


class Number(int):
    """As numpy's and others' integers."""


class Level(IntEnum):
    HIGH = 9


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        Text("marked safe"),
        Number(7),
        Level.HIGH,
        Colour.RED,
        {"nested": [Text("x"), {"y": Number(1)}]},
        {Text("key"): 1},
        {1: "one", None: "none", False: "false"},
        float("nan"),
        float("-inf"),
        [float("nan")],
        "\ud800",
        2**200,
        (1, (2, 3)),
        {"a": {"b": {"c": [1, [2, [3]]]}}},
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", ["headers", "properties"])
def test_unusual_values_outside_the_body_are_written_as_kombu_writes_them(value: object, place: str) -> None:
    written = {"headers": headers_of(), "properties": {"priority": 0}}
    written[place]["x"] = value
    payload = encoded(headers=written["headers"], properties=written["properties"])
    received = getattr(stock_message(payload), place)["x"]
    assert same(received, kombu_json_loads(kombu_json_dumps({"x": value}))["x"])
    assert_same_reading(payload)


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_stock_reads_every_serializer(serializer: str) -> None:
    require_serializer(serializer)
    args = ["text", 1, 2.5, None, True, {"a": [1]}]
    payload = encoded(args, {"k": "v"}, serializer=serializer)
    message = stock_message(payload)
    assert message.content_type == registry.name_to_type[serializer]
    assert list(message.decode()[0]) == args
    assert_same_reading(payload)


def test_what_json_cannot_say_is_refused_as_kombu_refuses_it() -> None:
    for body in ({1, 2}, object(), lambda: None):
        with pytest.raises(EncodeError) as theirs:
            registry.dumps(body, "json")
        with pytest.raises(EncodeError) as ours:
            encoded([body])
        assert str(ours.value) == str(theirs.value)


def test_the_envelope_has_just_what_kombu_puts_there() -> None:
    ours = json.loads(encoded([1], properties={"correlation_id": "c", "priority": 0}))
    channel = Connection("memory://").channel()
    theirs = channel.prepare_message("", 0, "application/json", "utf-8", {}, {"correlation_id": "c"})
    channel._inplace_augment_message(theirs, "", "shop")
    assert ours.keys() == theirs.keys()
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert ours["properties"]["delivery_info"] == theirs["properties"]["delivery_info"]
    assert ours["properties"]["body_encoding"] == theirs["properties"]["body_encoding"]
    assert UUID(ours["properties"]["delivery_tag"])


# -- What stock writes, we read


class Stock:
    """A stock app, and the bytes of what it publishes, as kombu's Redis transport would store them."""

    def __init__(self, **configuration: Any) -> None:
        self.queue = uuid4().hex
        self.app = StockCelery("stock", broker="memory://", set_as_current=False)
        self.app.conf.update(task_default_queue=self.queue, **configuration)
        self.connection = self.app.connection_for_write()

    def publish(self, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> bytes:
        self.app.send_task("shop.add", args, kwargs or {}, connection=self.connection, **options)
        stored = self.connection.default_channel._get(self.queue)
        return bytes(kombu_json_dumps(stored).encode())


STOCK = Stock()
OLD = Stock(task_protocol=1)


@pytest.mark.parametrize("protocol", [1, 2])
@given(st.lists(RICH, max_size=4), st.dictionaries(TEXTS, RICH, max_size=3))
@settings(max_examples=100, deadline=None)
def test_we_read_what_stock_sends_as_stock_does(
    protocol: int, args: list[Any], kwargs: dict[str, Any]
) -> None:
    delivered = assert_same_reading({1: OLD, 2: STOCK}[protocol].publish(*args, kwargs=kwargs))
    assert delivered.task == "shop.add"
    assert same(list(delivered.args), kombu_json_loads(kombu_json_dumps(args)))


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "priority": {"priority": 7},
    "shadow": {"shadow": "another name"},
    "countdown": {"countdown": 60},
    "eta": {"eta": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)},
    "expires": {"expires": 60},
    "headers": {"headers": {"tenant": "a", "nested": {"x": [1, None]}}},
    "typed headers": {"headers": {"at": datetime(2030, 1, 1, tzinfo=UTC), "sum": Decimal("1.10")}},
    "more typed headers": {"headers": {"on": date(2030, 1, 1), "at": time(1, 2), "ref": UUID(int=5)}},
    "bytes in headers": {"headers": {"blob": b"\xff\x00", "text": b"plain"}},
    "NaN in headers": {"headers": {"ratio": float("nan"), "most": float("inf")}},
    "a lone surrogate in headers": {"headers": {"odd": "\ud800"}},
    "stamped headers": {"stamped_headers": ["order"], "order": ["a", "b"]},
    "time limits": {"time_limit": 10, "soft_time_limit": 5},
    "ignore_result": {"ignore_result": True},
    "group": {"group_id": "g", "group_index": 3},
    "root and parent": {"root_id": "r", "parent_id": "p", "reply_to": "somebody"},
    "retries": {"retries": 4},
    "link": {"link": [{"task": "shop.then", "args": [1]}], "link_error": [{"task": "shop.sorry"}]},
    "chain": {"chain": [{"task": "shop.next", "args": [datetime(2030, 1, 1)]}]},  # noqa: DTZ001
    "chord": {"chord": {"task": "shop.all", "kwargs": {"x": Decimal(1)}}},
    "gzip": {"compression": "gzip"},
    "zlib": {"compression": "zlib"},
    "bzip2": {"compression": "bzip2"},
    "gzip and types": {"compression": "gzip", "kwargs": {"at": datetime(2030, 1, 1, tzinfo=UTC)}},
    "pickle": {"serializer": "pickle", "kwargs": {"when": datetime(2030, 1, 1, tzinfo=UTC), "set": {1}}},
    "pickle and bzip2": {"serializer": "pickle", "compression": "bzip2"},
}


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_we_read_every_option_of_stock(options: dict[str, Any], protocol: int) -> None:
    payload = {1: OLD, 2: STOCK}[protocol].publish(1, "two", **options)
    delivered = assert_same_reading(payload)
    assert list(delivered.args) == [1, "two"]


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_we_read_every_serializer_of_stock(serializer: str) -> None:
    require_serializer(serializer)
    delivered = assert_same_reading(STOCK.publish("x", 1.5, kwargs={"a": [None]}, serializer=serializer))
    assert (list(delivered.args), delivered.kwargs) == (["x", 1.5], {"a": [None]})


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
@pytest.mark.shows("setting", "accept_content")
def test_what_the_app_does_not_accept_is_refused_unread(serializer: str) -> None:
    require_serializer(serializer)
    payload = STOCK.publish(1, serializer=serializer)
    with pytest.raises(MalformedMessage, match=registry.name_to_type[serializer]):
        decode(payload, JSON)


class Bomb:
    """Unpickling it is an accident."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.shows("setting", "accept_content")
@pytest.mark.shows("task option", "serializer")
def test_a_pickle_that_is_not_accepted_is_never_loaded() -> None:
    payload = json.loads(STOCK.publish(1, serializer="pickle"))
    payload["body"] = base64.b64encode(pickle.dumps(Bomb())).decode()
    with pytest.raises(MalformedMessage, match="x-python-serialize"):
        decode(json.dumps(payload).encode(), JSON)


def test_json_may_be_refused_too() -> None:
    with pytest.raises(MalformedMessage, match="application/json"):
        decode(STOCK.publish(1), frozenset({"application/x-python-serialize"}))


def test_a_hybrid_of_the_protocols_is_read_as_stock_reads_it() -> None:
    """Protocol 2 headers around a protocol 1 body, as some gateways between versions send it."""
    payload = json.loads(OLD.publish(1, kwargs={"x": 2}))
    payload["headers"] = {"task": "shop.add", "id": "from-headers", "retries": 2, "shadow": "s"}
    delivered = assert_same_reading(json.dumps(payload).encode())
    assert (delivered.id, delivered.headers["retries"]) == ("from-headers", 2)
    assert (list(delivered.args), delivered.kwargs) == ([1], {"x": 2})


def test_a_body_that_is_not_base64_is_read_too() -> None:
    payload = json.loads(STOCK.publish("ä", 1))
    payload["body"] = base64.b64decode(payload["body"]).decode()
    payload["properties"]["body_encoding"] = "utf-8"
    delivered = assert_same_reading(json.dumps(payload).encode())
    assert list(delivered.args) == ["ä", 1]


@pytest.mark.parametrize(
    ("name", "compress"), [("application/x-gzip", zlib.compress), ("application/x-bz2", bz2.compress)]
)
def test_compression_is_undone_by_its_content_type(name: str, compress: Any) -> None:
    payload = json.loads(STOCK.publish(1))
    payload["body"] = base64.b64encode(compress(base64.b64decode(payload["body"]))).decode()
    payload["headers"]["compression"] = name
    assert list(assert_same_reading(json.dumps(payload).encode()).args) == [1]


def test_a_message_that_was_redelivered_by_stock_is_read() -> None:
    payload = json.loads(STOCK.publish(1))
    payload["headers"]["redelivered"] = True
    payload["properties"]["delivery_info"]["redelivered"] = True
    delivered = assert_same_reading(json.dumps(payload).encode())
    assert delivered.properties["delivery_info"]["redelivered"] is True
