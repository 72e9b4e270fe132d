"""Plausible task messages for tests: kombu's JSON envelope around a Celery task with a given name."""

from __future__ import annotations

import base64
import json

from celeriac.core.message import Message

__all__ = ["message", "name_of"]


def message(name: str, queue: str, *, priority: int = 0, due: float | None = None) -> Message:
    """Return a message whose task id is ``name``; equal arguments give equal bytes."""
    body = base64.b64encode(json.dumps([[name], {}, {"chain": None, "chord": None}]).encode()).decode()
    envelope = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "tests.nothing", "id": name, "root_id": name, "retries": 0},
        "properties": {
            "correlation_id": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": priority,
            "body_encoding": "base64",
            "delivery_tag": f"tag-of-{name}",
        },
    }
    return Message(queue=queue, payload=json.dumps(envelope).encode(), priority=priority, due=due)


def name_of(payload: bytes) -> str:
    """Return the name that :func:`message` was given."""
    name: str = json.loads(payload)["headers"]["id"]
    return name
