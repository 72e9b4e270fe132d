"""Celery's own Request object, for the few paths whose semantics it carries."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request
from kombu.message import Message

from celeriac.bridge.wire import Delivered

__all__ = ["acks_on_failure", "stock_request"]


def stock_request(
    app: Any,
    task: Any,
    delivered: Delivered,
    request: dict[str, Any] | None,
    hostname: str,
    eventer: Any = None,
) -> Request:
    """Return the request that a stock worker would hand to signal receivers; it acks nothing.

    ``eventer`` is Celery's event dispatcher, or None if nobody is to be told.
    """
    properties = delivered.properties
    message = Message(
        body=(delivered.args, delivered.kwargs, delivered.embed),
        delivery_tag=properties.get("delivery_tag"),
        headers=delivered.headers,
        properties=properties,
        delivery_info=(request or {}).get("delivery_info") or properties.get("delivery_info") or {},
    )
    return Request(
        message,
        app=app,
        task=task,
        hostname=hostname,
        eventer=eventer,
        body=(delivered.args, delivered.kwargs, delivered.embed),
        headers=delivered.headers,
        decoded=True,
    )


def acks_on_failure(task: Any) -> bool:
    """Whether a failure is acked; until Celery 5.7 there was one setting for failures and timeouts."""
    return bool(getattr(task, "acks_on_failure", task.acks_on_failure_or_timeout))
