"""What others are told of a message that cannot be run: as Celery's consumer tells them."""

from __future__ import annotations

from typing import Any

import msgspec
from celery import signals
from celery.app.task import Context
from celery.exceptions import InvalidTaskError, NotRegistered
from celery.utils.log import get_logger
from kombu.message import Message

from celeriac.bridge.letters import tell
from celeriac.bridge.store_errors import store_errors
from celeriac.bridge.wire import Delivered, Envelope
from celeriac.core.errors import MalformedMessage

__all__ = ["UnknownTask", "reject_malformed", "reject_unknown"]

# The name under which Celery itself logs this, and under which people look for it.
logger = get_logger("celery.worker.strategy")
_envelopes = msgspec.json.Decoder(Envelope)


class UnknownTask(MalformedMessage):
    """No task of this name is registered here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown task {name!r}: is its module imported here?")


def reject_unknown(sender: Any, app: Any, delivered: Delivered) -> None:
    """The task has failed, and the receivers of ``task_unknown`` know it."""
    error = NotRegistered(delivered.task)
    logger.error("Received unregistered task of type %s.", error)
    if not delivered.headers.get("ignore_result"):
        request = Context(
            name=delivered.task,
            root_id=delivered.headers.get("root_id"),
            correlation_id=delivered.properties.get("correlation_id"),
            reply_to=delivered.properties.get("reply_to"),
        )
        with store_errors(app):
            app.backend.mark_as_failure(delivered.id, error, request=request)
    signals.task_unknown.send(
        sender=sender, message=delivered, exc=error, name=delivered.task, id=delivered.id
    )


def reject_malformed(sender: Any, payload: bytes, error: MalformedMessage) -> None:
    """The receivers of ``task_rejected`` know of it, with no error if the message names no task."""
    if not signals.task_rejected.receivers:
        return
    exc = InvalidTaskError(str(error)) if tell(payload).task is not None else None
    signals.task_rejected.send(sender=sender, message=_as_kombus(payload), exc=exc)


def _as_kombus(payload: bytes) -> Message:
    """Return the message as kombu would hand it to a consumer, as far as it can be read."""
    try:
        envelope = _envelopes.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Message(body=payload, headers={}, properties={})
    return Message(
        body=envelope.body,
        content_type=envelope.content_type,
        content_encoding=envelope.content_encoding,
        headers=envelope.headers,
        properties=envelope.properties,
        delivery_info=envelope.properties.get("delivery_info") or {},
    )
