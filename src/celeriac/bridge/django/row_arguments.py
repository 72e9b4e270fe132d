"""Tasks that are called with model instances and given rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from celery.app.task import Task
from django.apps import apps

from celeriac.bridge.django.given_rows import check_row_options, renewed
from celeriac.bridge.django.row_step import RowStep
from celeriac.bridge.django.step import TaskCall
from celeriac.django.references import is_flat

__all__ = ["RowArguments", "with_row_arguments"]

_step = RowStep()


class RowArguments:
    """Mixed into the class of every task in a Django project."""

    #: What happens if a row is not there: the task is retried, is skipped, or fails.
    on_missing: Literal["retry", "skip", "raise"] = "retry"
    #: What happens if a row has changed since the call: the task gets it as it is now, is skipped, fails,
    #: or goes back to its queue with the row's present version.
    stale: Literal["refresh", "skip", "raise", "requeue"] = "refresh"
    #: "update": the body runs in a transaction that holds its rows with SELECT FOR UPDATE.
    lock: Literal["update"] | None = None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        # Elsewhere these names may be the application's own.
        if apps.ready and apps.is_installed("celeriac.django"):
            check_row_options(cls)
        super().on_bound(app)  # type: ignore[misc]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        task: Any = self
        request = task.request_stack.top
        if request is None or request.called_directly or request._protected:
            call: Any = super()
            return call.__call__(*args, **kwargs)
        if is_flat(args) and is_flat(kwargs):
            return self._go_on(request, args, kwargs)
        return _step.run(
            TaskCall(task, args, kwargs), lambda call: self._go_on(request, call.args, call.kwargs)
        )

    def retry(self, *args: Any, **options: Any) -> Any:
        """What Celery's own does, with the versions that the task itself has given its rows."""
        task: Any = self
        request = task.request
        if rows := getattr(request, "given_rows", None):
            request.args, request.kwargs = renewed(request.args, rows), renewed(request.kwargs, rows)
        return super().retry(*args, **options)  # type: ignore[misc]

    def _go_on(self, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        task: Any = self
        if not _is_called_by_nobody_else(task.__class__):
            own: Any = super()
            return own.__call__(*args, **kwargs)
        request._protected = 1  # the body is called for it, as Celery's workers mark it
        return task.run(*args, **kwargs)


def with_row_arguments(base: type[Any]) -> type[Any]:
    """Return the Task class, whose tasks are given rows."""
    if issubclass(base, RowArguments):
        return base
    return type(
        base.__name__,
        (RowArguments, base),
        {"__module__": base.__module__, "__doc__": base.__doc__, "abstract": True},
    )


@cache
def _is_called_by_nobody_else(cls: Any) -> bool:
    """Whether Celery's own ``__call__`` comes next, which only calls ``run``."""
    after = cls.__mro__[cls.__mro__.index(RowArguments) + 1 :]
    return next(base for base in after if "__call__" in vars(base)) is Task
