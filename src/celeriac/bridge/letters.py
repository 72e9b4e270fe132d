"""What a message says about its task, for people who look at it and never run it."""

from __future__ import annotations

from typing import Any

import msgspec
from kombu.serialization import prepare_accept_content
from kombu.utils.json import dumps as json_dumps

from celeriac.bridge.wire import Envelope, decode
from celeriac.core.errors import MalformedMessage

__all__ = ["Body", "Told", "envelope_of", "read_body", "tell"]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What can be read without decoding a body; everything is None where the message does not say."""

    task: str | None = None
    task_id: str | None = None
    #: As the producer chose to show them: ``argsrepr`` and ``kwargsrepr``.
    args: str | None = None
    kwargs: str | None = None
    headers: dict[str, Any] = {}


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded body, whatever its serializer was."""

    args: Any
    kwargs: Any
    #: Callbacks, errbacks, chain and chord.
    embed: Any


_JSON = frozenset(["application/json"])
_envelopes = msgspec.json.Decoder(Envelope)


def envelope_of(payload: bytes) -> Envelope | None:
    """Return the payload's envelope; None if it is none."""
    try:
        return _envelopes.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def tell(payload: bytes) -> Told:
    """Return what the payload tells; nothing of it need be there."""
    envelope = envelope_of(payload)
    if envelope is None:
        return Told()
    headers = envelope.headers
    if "task" not in headers:
        return _tell_protocol_1(payload, headers)
    return Told(
        task=_text(headers["task"]),
        task_id=_text(headers.get("id")),
        args=_text(headers.get("argsrepr")),
        kwargs=_text(headers.get("kwargsrepr")),
        headers=headers,
    )


def read_body(app: Any, payload: bytes) -> Body:
    """Return the decoded body; raise :class:`MalformedMessage` if it is broken or its serializer refused.

    What the app accepts is its ``accept_content``, as for its workers.
    """
    delivered = decode(payload, frozenset(prepare_accept_content(app.conf.accept_content)))
    return Body(
        args=_as_json(delivered.args), kwargs=_as_json(delivered.kwargs), embed=_as_json(delivered.embed)
    )


def _tell_protocol_1(payload: bytes, headers: dict[str, Any]) -> Told:
    """Protocol 1 names its task in the body, and no words for the arguments."""
    try:
        delivered = decode(payload, _JSON)
    except MalformedMessage:
        return Told(headers=headers)
    return Told(task=delivered.task, task_id=delivered.id, headers=headers)


def _as_json(value: Any) -> Any:
    """The value as JSON has it; what JSON cannot say is said as Python does."""
    try:
        return msgspec.json.decode(json_dumps(value))
    except (TypeError, ValueError, msgspec.DecodeError):
        return repr(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
