"""What tasks, calls and Celery itself say of where a message is kept until the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from celeriac.bridge.outgoing import PLACING, Place, placing_of
from celeriac.core.errors import ConfigurationError

__all__ = ["TaskPlaces"]


class _Rule(msgspec.Struct, frozen=True):
    outbox: bool
    #: Makes the key from a call's arguments; a text is the key of all calls.
    ordering_key: Callable[..., Any] | str | None


class TaskPlaces:
    """Learns ``outbox`` and ``ordering_key`` of each task when it is registered; empty for most apps."""

    def __init__(self) -> None:
        self._rules: dict[str, _Rule] = {}

    def learn(self, task: Any) -> None:
        """Take over what the task says; raise ConfigurationError for what cannot be meant."""
        key = getattr(task, "ordering_key", None)
        stays = getattr(task, "outbox", None) is not False
        if key is not None and not (callable(key) or isinstance(key, str)):
            raise ConfigurationError(
                f"{task.name}: ordering_key is {key!r}: write a text, or a function of the task's arguments"
            )
        if key is not None or not stays:
            self._rules[task.name] = _Rule(stays, key)

    def concern(self, name: str, options: Mapping[str, Any]) -> bool:
        """Return whether there is anything to be said about such a call."""
        return (
            name in self._rules
            or not PLACING.isdisjoint(options)
            or bool(options.get("retries") or options.get("replaced_task_nesting"))
        )

    def of(
        self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]
    ) -> tuple[Place, dict[str, Any]]:
        """Return the place of the message, and the options of the call without those that say so.

        What takes a running task's place, as a retry does, is sent at once: the task's own transaction
        is about to be rolled back. A call that itself says ``outbox=True`` knows better.
        """
        waits = options.get("outbox") is True
        rule = self._rules.get(name)
        if rule is not None:
            given = {"outbox": rule.outbox, "ordering_key": rule.ordering_key, **options}
            if callable(given["ordering_key"]):
                given["ordering_key"] = given["ordering_key"](*(args or ()), **(kwargs or {}))
            options = given
        place, others = placing_of(options)
        if not waits and (others.get("retries") or others.get("replaced_task_nesting")):
            place = Place(place.using, outbox=False)
        return place, others
