"""Remote control of an engine worker: Celery's commands, where they must ask the engine instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from celery.worker.control import Panel
from kombu.utils.json import loads as json_loads

from celeriac.bridge.requests import stock_request
from celeriac.bridge.wire import decode
from celeriac.core.errors import MalformedMessage

__all__ = ["engine_handlers"]

_LISTED = 1000


def engine_handlers() -> dict[str, Callable[..., Any]]:
    """Return the handler of each command: Celery's and the app's own, with ours in their place."""
    ours: dict[str, Callable[..., Any]] = {
        "active": active,
        "dump_active": active,
        "dump_reserved": reserved,
        "dump_schedule": scheduled,
        "reserved": reserved,
        "scheduled": scheduled,
    }
    return {**Panel.data, **dict.fromkeys(_UNSUPPORTED, unsupported), **ours}


#: Commands that change a running pool or consumer.
_UNSUPPORTED = (
    "add_consumer",
    "autoscale",
    "cancel_consumer",
    "enable_events",
    "pool_grow",
    "pool_restart",
    "pool_shrink",
    "rate_limit",
    "revoke",
    "revoke_by_stamped_headers",
    "terminate",
    "time_limit",
)


def unsupported(_state: Any, **_: Any) -> dict[str, str]:
    """Say that the engine does not do this."""
    return {"error": "this worker runs Celeriac's engine, which does not support this command yet"}


def active(state: Any, **_: Any) -> list[dict[str, Any]]:
    """List the tasks that have been running for a moment."""
    found = []
    for note in state.consumer.controller.engine.notes():
        try:
            found.append(json_loads(note.text))
        except json.JSONDecodeError:
            continue  # read while it was being written; the task has changed
    return found


def reserved(_state: Any, **_: Any) -> list[dict[str, Any]]:
    """List nothing: what a shard has claimed and not started, it starts within milliseconds or gives back."""
    return []


def scheduled(state: Any, **_: Any) -> list[dict[str, Any]]:
    """List the first thousand delayed messages of this worker's queues; they wait in the broker."""
    worker = state.consumer.controller
    found = []
    for entry in worker.engine.broker.scheduled(worker.engine.queues, limit=_LISTED):
        try:
            delivered = decode(entry.message.payload, frozenset(["application/json"]))
            task = state.app.tasks[delivered.task]
        except (MalformedMessage, KeyError):
            continue
        request = stock_request(state.app, task, delivered, None, state.hostname)
        found.append(
            {
                "eta": delivered.headers.get("eta"),
                "priority": entry.message.priority,
                "request": request.info(),
            }
        )
    return found
