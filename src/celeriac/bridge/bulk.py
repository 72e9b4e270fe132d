"""One task called many times: its messages filled in from one template and sent in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, overload

from celeriac.bridge.batches import Batch
from celeriac.bridge.direct_calls import is_ordinary, merged_options
from celeriac.bridge.reservations import Call

__all__ = ["SentTasks", "call_many"]

#: Calls after which it is decided anew whether they are plain, as settings and signals may change.
_DECIDE_EVERY: Final = 1000

Calls = Iterable[tuple[Sequence[Any] | None, Mapping[str, Any] | None]]


class SentTasks(Sequence[Any]):
    """The results of tasks in the order of their calls; each result object is made when it is asked for."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._found: list[Any] = []

    def append(self, result: Any) -> None:
        """Add a task, as its id or as its result object."""
        self._found.append(result)

    @property
    def ids(self) -> list[str]:
        """The ids of the tasks."""
        return [one if type(one) is str else one.id for one in self._found]

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        found = self._found[index]
        if type(found) is str:
            found = self._found[index] = self._make(found)
        return found

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<SentTasks: {len(self)} results>"


def call_many(
    app: Any, task: Any, calls: Calls, options: dict[str, Any], *, producer: Any, batch: Batch
) -> SentTasks:
    """Add a message for each call to the batch; return their results.

    What is not plain goes through the task's own ``apply_async`` with the producer of the batch.
    """
    merged = merged_options(task, options)
    plain_calls = app.amqp.plain_calls
    check = task.__header__ if task.typing and hasattr(task, "__header__") else None

    def make(task_id: str) -> Any:
        result = task.AsyncResult(task_id)
        result.ignored = merged["ignore_result"]
        return result

    sent, parent = SentTasks(make), app.current_worker_task
    if task.name in app.limits.unique or "unique" in options:
        ahead = app.unique_calls.reservations.ahead(
            calls, lambda call: Call(task.name, call[0], call[1], merged)
        )
        with closing(ahead) as known:
            for (args, kwargs), given in known:
                sent.append(task.apply_async(args, kwargs, producer=producer, **{**options, **given}))
        return sent
    template = None
    for number, (args, kwargs) in enumerate(calls):
        if number % _DECIDE_EVERY == 0:
            ordinary = is_ordinary(task) and not app.conf.task_always_eager
            ordinary = ordinary and not app.places.concern(task.name, options)
            template = plain_calls.template_for(task.name, merged) if ordinary else None
        prepared = None
        # The first call is checked by Celery, for what is wrong with all of them.
        if template is not None and number:
            args, kwargs = args or (), kwargs or {}
            if check is not None:
                check(*args, **kwargs)
            prepared = plain_calls.fill(template, args, kwargs, merged, parent)
        if prepared is None:
            sent.append(task.apply_async(args, kwargs, producer=producer, **options))
            continue
        batch.add(prepared.message, prepared.retry_policy)
        sent.append(prepared.task_id)
        if parent is not None:
            parent.add_trail(sent[-1])
    return sent
