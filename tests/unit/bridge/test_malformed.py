"""Whatever the bytes of a message, reading them says what is wrong with them at worst."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery as StockCelery
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils.json import dumps as kombu_json_dumps

from celeriac.bridge.wire import decode
from celeriac.core.errors import MalformedMessage

JSON = frozenset({"application/json"})
EVERYTHING = frozenset({"application/json", "application/x-python-serialize"})


def published(protocol: int, **options: Any) -> bytes:
    """The bytes of a message that stock Celery sends."""
    queue = uuid4().hex
    app = StockCelery("stock", broker="memory://", set_as_current=False)
    app.conf.update(task_protocol=protocol, task_default_queue=queue)
    with app.connection_for_write() as connection:
        app.send_task("shop.add", (1, "two"), {"k": [1.5, None]}, connection=connection, **options)
        return bytes(kombu_json_dumps(connection.default_channel._get(queue)).encode())


ENVELOPES = [
    published(2, headers={"at": datetime(2030, 1, 1, tzinfo=UTC)}),
    published(1),
    published(2, compression="gzip", link=[{"task": "t"}]),
    published(2, serializer="pickle"),
]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def assert_read_or_malformed(payload: bytes, accept: frozenset[str] = JSON) -> None:
    try:
        delivered = decode(payload, accept)
    except MalformedMessage:
        return
    assert isinstance(delivered.id, str)
    assert isinstance(delivered.task, str)
    assert isinstance(delivered.headers, dict)
    assert isinstance(delivered.args, list | tuple)
    assert isinstance(delivered.kwargs, dict)
    assert isinstance(delivered.embed, dict)
    assert isinstance(delivered.properties.get("delivery_info", {}), dict)


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_malformed_at_worst(payload: bytes) -> None:
    assert_read_or_malformed(payload)


@given(st.sampled_from(ENVELOPES), st.data())
@settings(max_examples=500, deadline=None)
def test_a_real_message_with_some_bytes_changed_is_malformed_at_worst(
    envelope: bytes, data: st.DataObject
) -> None:
    changed = bytearray(envelope)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        end = min(len(changed), start + data.draw(st.integers(0, 20)))
        changed[start:end] = data.draw(st.binary(max_size=5))
    assert_read_or_malformed(bytes(changed))


JUNK = (
    VALUES
    | st.sampled_from([{"__type__": "datetime", "__value__": "soon"}, {"__type__": "uuid", "__value__": 5}])
    | st.sampled_from([{"__type__": "nothing", "__value__": 1}, {"__type__": [], "__value__": {}}, "args"])
)


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every part of a JSON value, itself included."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def replaced(value: Any, path: tuple[Any, ...], junk: object) -> Any:
    if not path:
        return junk
    value[path[0]] = replaced(value[path[0]], path[1:], junk)
    return value


OPENED = []
for _envelope in ENVELOPES[:2]:
    _opened = json.loads(_envelope)
    _opened["body"] = json.loads(base64.b64decode(_opened["body"]))
    OPENED.append((json.dumps(_opened), list(places(_opened))))


@given(st.sampled_from(OPENED), st.data())
@settings(max_examples=500, deadline=None)
def test_a_real_message_with_some_parts_replaced_is_malformed_at_worst(
    opened: tuple[str, list[tuple[Any, ...]]], data: st.DataObject
) -> None:
    text, paths = opened
    value = replaced(json.loads(text), data.draw(st.sampled_from(paths)), data.draw(JUNK))
    if isinstance(value, dict) and "body" in value:
        value["body"] = base64.b64encode(json.dumps(value["body"]).encode()).decode()
    assert_read_or_malformed(json.dumps(value).encode())


@pytest.mark.parametrize("accept", [JSON, EVERYTHING], ids=["json", "everything"])
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"headers": {}, "properties": {}}',
        b'{"headers": {}, "properties": {}, "body": ""}',
        b'{"headers": null, "properties": null, "body": "e30="}',
        b"[" * 100_000,
        b'{"headers": {"a": ' + b"[" * 100_000,
        b'{"headers": {"__type__": 1}, "properties": ' + b"[" * 100_000,
        b"\xff\xfe{\x00}\x00",
        '{"headers": {}, "properties": {}, "body": "ä"}'.encode(),
        b"1" * 10_000,
    ],
    ids=lambda payload: repr(payload[:30]),
)
def test_awkward_bytes_are_malformed(payload: bytes, accept: frozenset[str]) -> None:
    with pytest.raises(MalformedMessage):
        decode(payload, accept)


@pytest.mark.parametrize(
    "body", [[[], {}], [[], {}, {}, {}], [5, {}, {}], [[], 5, {}], [[], {}, 5], [[], {}, ["x"]], "text", 5]
)
def test_a_body_of_another_shape_is_malformed(body: object) -> None:
    payload = json.loads(published(2))
    payload["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    with pytest.raises(MalformedMessage):
        decode(json.dumps(payload).encode(), JSON)


@pytest.mark.parametrize("field", ["id", "task"])
@pytest.mark.parametrize("value", [None, 5, [], {}])
def test_a_message_without_id_or_task_is_malformed(field: str, value: object) -> None:
    payload = json.loads(published(2))
    payload["headers"][field] = value
    with pytest.raises(MalformedMessage, match="names no task or has no id"):
        decode(json.dumps(payload).encode(), JSON)
