"""What Celeriac's tasks can do beside what Celery's can: be called many times at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from celery.app.task import Task

__all__ = ["BulkCalls", "with_bulk_calls"]


class BulkCalls:
    """Mixed into the app's Task class, whichever that is."""

    def delay_many(self, calls: Iterable[Sequence[Any] | Mapping[str, Any]]) -> Sequence[Any]:
        """Publish a call of the task for each item, in their order; return their results.

        An item is a tuple or list of positional arguments, or a mapping of keyword arguments. Messages
        go out in batches, for each of which the broker is asked once. An item that does not fit
        raises TypeError; then nothing from its batch on has been published.
        """
        return self.apply_many(map(_as_pair, calls))

    def apply_many(
        self, calls: Iterable[tuple[Sequence[Any] | None, Mapping[str, Any] | None]], **options: Any
    ) -> Sequence[Any]:
        """The same for pairs of positional and keyword arguments, with options of ``apply_async`` for all."""
        task: Any = self
        results: Sequence[Any] = task.app.apply_many(task, calls, options)
        return results


class DirectDelay:
    """Mixed into a Task class whose ``delay`` is Celery's."""

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Publish a call of the task with these arguments; return its result."""
        task: Any = self
        call_task = getattr(task._get_app(), "call_task", None)
        result = None if call_task is None else call_task(task, args, kwargs)
        if result is None:
            stock: Any = super()
            result = stock.delay(*args, **kwargs)
        return result


def with_bulk_calls(base: type[Any]) -> type[Any]:
    """Return the Task class, with bulk calls and, unless it has a ``delay`` of its own, a quicker one."""
    if issubclass(base, BulkCalls):
        return base
    mixed_in = (BulkCalls, DirectDelay) if base.delay is Task.delay else (BulkCalls,)
    return type(
        base.__name__,
        (*mixed_in, base),
        {"__module__": base.__module__, "__doc__": base.__doc__, "abstract": True},
    )


def _as_pair(call: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(call, list | tuple):
        return call, {}
    if isinstance(call, Mapping):
        return (), call
    raise TypeError(f"{call!r} is neither a tuple of arguments nor a mapping: write ({call!r},)")
