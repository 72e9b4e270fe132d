"""Tasks that are called with model instances and given rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import cache
from typing import Any, Literal

from celery.app.task import Task
from django.db import transaction

from celeriac.bridge.django.given_rows import (
    BodyNotCalled,
    check_row_options,
    instead_of_body,
    renewed,
    rows_for,
    rows_for_async,
)
from celeriac.django.model_ref import ModelRef
from celeriac.django.references import references_in
from celeriac.django.rows import database_to_lock

__all__ = ["RowArguments", "with_row_arguments"]


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
        check_row_options(cls)
        super().on_bound(app)  # type: ignore[misc]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        task: Any = self
        request = task.request_stack.top
        if request is None or request.called_directly or request._protected:
            call: Any = super()
            return call.__call__(*args, **kwargs)
        body = self._body(request)
        references = list({one: None for part in (args, kwargs) for one in references_in(part)})
        if not references:
            return body(*args, **kwargs)
        if inspect.iscoroutinefunction(task.run):
            return _run_coroutine(task, request, references, body, args, kwargs)
        return _run(task, request, references, body, args, kwargs)

    def retry(self, *args: Any, **options: Any) -> Any:
        """What Celery's own does; sent at once, as the transaction it is called in ends with it."""
        task: Any = self
        request = task.request
        if rows := getattr(request, "given_rows", None):
            request.args, request.kwargs = renewed(request.args, rows), renewed(request.kwargs, rows)
        departures = task.app.departures
        with nullcontext() if departures is None else departures.directly():
            return super().retry(*args, **options)  # type: ignore[misc]

    def _body(self, request: Any) -> Callable[..., Any]:
        task: Any = self
        if not _is_called_by_nobody_else(task.__class__):
            call: Any = super()
            body: Callable[..., Any] = call.__call__
            return body
        request._protected = 1  # the body is called for this request, as Celery's workers mark it
        run: Callable[..., Any] = task.run
        return run


def with_row_arguments(base: type[Any]) -> type[Any]:
    """Return the Task class, whose tasks are given rows."""
    if issubclass(base, RowArguments):
        return base
    return type(
        base.__name__,
        (RowArguments, base),
        {"__module__": base.__module__, "__doc__": base.__doc__, "abstract": True},
    )


def _run(
    task: Any, request: Any, references: Sequence[ModelRef], body: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    try:
        with ExitStack() as transactions:
            if task.lock == "update":
                for alias in sorted({database_to_lock(one) for one in references}):
                    transactions.enter_context(transaction.atomic(using=alias))
            given, named = rows_for(task, request, references, (args, kwargs))
            return body(*given, **named)
    except BodyNotCalled as error:
        not_called = error
    return instead_of_body(task, not_called)


async def _run_coroutine(
    task: Any, request: Any, references: Sequence[ModelRef], body: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    try:
        given, named = await rows_for_async(task, request, references, (args, kwargs))
    except BodyNotCalled as error:
        not_called = error
    else:
        return await body(*given, **named)
    return instead_of_body(task, not_called)


@cache
def _is_called_by_nobody_else(cls: Any) -> bool:
    """Whether Celery's own ``__call__`` comes next, which only calls ``run``."""
    after = cls.__mro__[cls.__mro__.index(RowArguments) + 1 :]
    return next(base for base in after if "__call__" in vars(base)) is Task
