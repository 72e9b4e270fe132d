"""Celery's message protocol 2 inside kombu's envelope: encoding and decoding.

Protocol: https://docs.celeryq.dev/en/stable/internals/protocol.html . What is plain JSON goes
through msgspec; everything else through kombu's own serializers, so that the bytes mean the same.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from math import isfinite
from types import SimpleNamespace
from typing import Any

import msgspec
from celery.worker.strategy import hybrid_to_proto2, proto1_to_proto2
from kombu.serialization import dumps as kombu_dumps
from kombu.serialization import loads as kombu_loads
from kombu.utils.json import dumps as json_dumps
from kombu.utils.json import loads as json_loads

from celeriac.bridge.decompression import decompressed
from celeriac.bridge.tags import new_tag
from celeriac.core.errors import MalformedMessage

__all__ = ["Delivered", "Envelope", "as_redelivered", "decode", "encode", "unwrap", "wrap"]

_PLAIN = frozenset({str, int, bool, type(None)})
#: In what kombu writes for a datetime, a UUID and the like; no base64 has an underscore.
_TYPED = b"__type__"
_BODY_FIRST = (b'{"body":"', b'{"body": "')


class Envelope(msgspec.Struct, frozen=True):
    """kombu's JSON envelope, as its virtual transports put it into a queue."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any = None
    content_type: str | None = msgspec.field(name="content-type", default=None)
    content_encoding: str | None = msgspec.field(name="content-encoding", default=None)


class Delivered(msgspec.Struct):
    """A decoded message in the terms of protocol 2, whatever its own protocol was."""

    id: str
    task: str
    headers: dict[str, Any]
    args: Any
    kwargs: Any
    #: callbacks, errbacks, chain, chord.
    embed: dict[str, Any]
    properties: dict[str, Any]


class _PackedEnvelope(Envelope, frozen=True):
    """One whose body is base64, as it nearly always is; it is unpacked on the way."""

    body: bytes = b""


_packed_decoder = msgspec.json.Decoder(_PackedEnvelope)
_envelope_decoder = msgspec.json.Decoder(Envelope)
_json_decoder = msgspec.json.Decoder()
_json_encoder = msgspec.json.Encoder()


def encode(
    body: Any,
    *,
    headers: Mapping[str, Any],
    properties: Mapping[str, Any],
    queue: str,
    serializer: str,
) -> bytes:
    """Return the envelope for the anonymous exchange, as kombu would put it into ``queue``."""
    content_type, content_encoding, data = kombu_dumps(body, serializer)
    return wrap(
        data,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=headers,
        properties=properties,
        routing_key=queue,
    )


def wrap(
    data: str | bytes,
    *,
    content_type: str,
    content_encoding: str,
    headers: Mapping[str, Any],
    properties: Mapping[str, Any],
    routing_key: str,
    exchange: str = "",
) -> bytes:
    """Return the envelope around a body that has been serialized."""
    if isinstance(data, str):
        data = data.encode("utf-8")
    envelope = {
        "body": binascii.b2a_base64(data, newline=False).decode("ascii"),
        "content-encoding": content_encoding,
        "content-type": content_type,
        "headers": headers,
        "properties": {
            **properties,
            "delivery_info": {"exchange": exchange, "routing_key": routing_key},
            "body_encoding": "base64",
            "delivery_tag": new_tag(),
        },
    }
    if _is_plain(headers) and _is_plain(properties):
        try:
            return _json_encoder.encode(envelope)
        except (TypeError, UnicodeEncodeError):
            pass  # kombu also takes keys other than strings, and lone surrogates
    return bytes(json_dumps(envelope).encode("utf-8"))


def decode(payload: bytes, accept: frozenset[str]) -> Delivered:
    """Return what the payload says; raise :class:`MalformedMessage` saying what is wrong with it."""
    envelope = _read_envelope(payload)
    body = _decode_body(envelope, accept)
    if isinstance(body, list | tuple) and len(body) == 3 and "task" in envelope.headers:
        args, kwargs, embed = body
        headers = envelope.headers
    elif isinstance(body, dict):
        (args, kwargs, embed), headers = _from_protocol_1(body, envelope.headers)
    else:
        raise MalformedMessage("the body is neither protocol 2 (args, kwargs, embed) nor protocol 1")
    task_id, task = headers.get("id"), headers.get("task")
    if not isinstance(task_id, str) or not isinstance(task, str):
        raise MalformedMessage("the message names no task or has no id")
    if not (task_id.isascii() and task.isascii()):
        _check_text(task_id, task)
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise MalformedMessage("the task's arguments are not a list and a mapping")
    embed = embed or {}
    if not isinstance(embed, dict) or not isinstance(envelope.properties.get("delivery_info", {}), dict):
        raise MalformedMessage("the task's callbacks or its delivery info are not mappings")
    return Delivered(task_id, task, headers, args, kwargs, embed, envelope.properties)


def unwrap(payload: bytes) -> tuple[bytes, Envelope]:
    """Return the serialized body, as it was before :func:`wrap`, and the envelope around it."""
    envelope = _read_envelope(payload)
    body = envelope.body
    return body if isinstance(body, bytes) else binascii.a2b_base64(body), envelope


def as_redelivered(payload: bytes) -> bytes:
    """Return the same message, which a task has put back, with the mark that kombu gives it then."""
    envelope = json.loads(payload)
    envelope["headers"]["redelivered"] = True
    envelope["properties"].setdefault("delivery_info", {})["redelivered"] = True
    return json.dumps(envelope).encode()


def _check_text(*texts: str) -> None:
    """Return if all can be stored: JSON may hold halves of characters, which no store takes."""
    try:
        for text in texts:
            text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedMessage(f"its id or its task's name is not text: {error}") from None


def _read_envelope(payload: bytes) -> Envelope:
    try:
        packed = _packed_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # it is not base64, or not what strict JSON has
    else:
        if packed.properties.get("body_encoding") == "base64" and not _has_typed(payload, packed.body):
            return packed
    return _read_any_envelope(payload)


def _has_typed(payload: bytes, body: bytes) -> bool:
    """Whether a value in it is one of kombu's; a body that comes first need not be searched for that."""
    start = len(body) // 3 * 4 if payload.startswith(_BODY_FIRST) else 0  # so long is its base64 at least
    return payload.find(_TYPED, start) >= 0


def _read_any_envelope(payload: bytes) -> Envelope:
    if _TYPED not in payload:
        try:
            return _envelope_decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # kombu also takes what strict JSON does not have, such as NaN
    try:
        return msgspec.convert(json_loads(payload), Envelope)
    except Exception as error:
        # Types that kombu knows are rebuilt from any value; the message is buried with this as its reason.
        raise MalformedMessage(f"not a kombu envelope: {error}") from None


def _decode_body(envelope: Envelope, accept: frozenset[str]) -> Any:
    data = envelope.body
    try:
        if isinstance(data, str):
            if envelope.properties.get("body_encoding") == "base64":
                data = binascii.a2b_base64(data)
            else:
                data = data.encode("utf-8")
        elif not isinstance(data, bytes):
            return data
        if compression := envelope.headers.get("compression"):
            data = decompressed(data, compression)
        # A single byte is found many times faster than several.
        plain_json = envelope.content_type == "application/json" and (b"_" not in data or _TYPED not in data)
        if plain_json and "application/json" in accept:
            try:
                return _json_decoder.decode(data)
            except msgspec.DecodeError:
                pass  # kombu also takes what strict JSON does not have, such as NaN
        return kombu_loads(data, envelope.content_type, envelope.content_encoding, accept=accept)
    except Exception as error:
        # Serializers raise whatever they like; the message is buried with this as its reason.
        raise MalformedMessage(f"the body cannot be decoded: {error}") from None


def _from_protocol_1(
    body: dict[str, Any], headers: dict[str, Any]
) -> tuple[tuple[Any, Any, Any], dict[str, Any]]:
    convert = hybrid_to_proto2 if "task" in headers else proto1_to_proto2
    try:
        triple, new_headers, _, _ = convert(SimpleNamespace(headers=headers), body)
    except Exception as error:
        # Celery's converters check little; the message is buried with this as its reason.
        raise MalformedMessage(f"not a protocol 1 message: {error}") from None
    return triple, dict(new_headers)


def _is_plain(values: Mapping[str, Any]) -> bool:
    """Whether msgspec, if it takes these values, writes them just as kombu's own JSON would."""
    return all(_is_plain_value(value) for value in values.values())


def _is_plain_value(value: Any) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is float:
        return isfinite(value)
    if kind is dict:
        return _is_plain(value)
    return kind in (list, tuple) and all(_is_plain_value(item) for item in value)
