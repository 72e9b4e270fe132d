"""What wraps the body of a task in a Django project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Proceed", "Step", "TaskCall"]


class TaskCall(NamedTuple):
    """One run of a task, as Celery's tracer asks for it; ``task.request`` is its request."""

    task: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


#: Goes on with the steps that follow and with the body; returns what the body returns.
Proceed = Callable[[TaskCall], Any]


class Step(Protocol):
    """Belongs to one task that asks for it."""

    def run(self, call: TaskCall, proceed: Proceed) -> Any:
        """Return what ``proceed(call)`` returns; or do without, with something else, in something else."""
        ...
