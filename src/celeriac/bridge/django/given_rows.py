"""Before the body of a task: its references become rows, or the body is not called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from asgiref.sync import sync_to_async
from celery.app.task import Task
from celery.utils.log import get_logger
from django.core.exceptions import ObjectDoesNotExist, SynchronousOnlyOperation
from django.db import DatabaseError, close_old_connections
from django.db.models import Model

from celeriac.bridge.django.step import TaskCall
from celeriac.core.errors import ConfigurationError, StaleObject, did_you_mean
from celeriac.django.model_ref import ModelRef
from celeriac.django.references import replaced
from celeriac.django.row_version import declared_version, version_of
from celeriac.django.rows import read_rows
from celeriac.django.snapshot import from_snapshot

__all__ = [
    "BodyNotCalled",
    "check_row_options",
    "instead_of_body",
    "option_of",
    "renewed",
    "rows_for",
    "rows_for_async",
]

logger = get_logger("celeriac.django")

#: What a task may say of the rows it is given; the first value of each is what it gets without a word.
_OPTIONS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "on_missing": ("retry", "skip", "raise"),
    "stale": ("refresh", "skip", "raise", "requeue"),
    "lock": (None, "update"),
}
#: Seconds until a task is run again whose row was missing, if it names no delay of its own.
_MISSING_DELAY: Final = 60
#: Of those that the attempts before have reached.
_VERSIONS_KEPT: Final = 2

Rows = dict[ModelRef, Model]


class BodyNotCalled(Exception):
    """The body is not called; raised inside the transaction of a task, and dealt with outside of it."""

    def __init__(self, what: str | None, reason: Exception, call: TaskCall | None = None) -> None:
        super().__init__(str(reason))
        #: "skip", "raise", "retry" or "requeue".
        self.what = what
        self.reason = reason
        #: What it is called with when it is requeued.
        self.call = call


def option_of(task: Any, option: str) -> str | None:
    """Return what the task, or its class, says; an attribute of the application's own says nothing."""
    value = getattr(task, option, None)
    return value if isinstance(value, str) else _OPTIONS[option][0]


def check_row_options(task: type[Any]) -> None:
    """Return if the task class may say this of its rows; raise ConfigurationError saying what to write."""
    for option, known in _OPTIONS.items():
        value = option_of(task, option)
        if value not in known:
            words = [word for word in known if word is not None]
            raise ConfigurationError(
                f"{task.__name__}: {option}={value!r} is none of {', '.join(map(repr, known))}"
                f"{did_you_mean(str(value), words)}"
            )
    if option_of(task, "lock") and inspect.iscoroutinefunction(task.run):
        raise ConfigurationError(
            f"{task.__name__}: a coroutine cannot hold the lock of a row: "
            "make it a plain function, or lock the row where it is changed"
        )


def rows_for(call: TaskCall, request: Any, references: Sequence[ModelRef]) -> TaskCall:
    """Return the call with a row for each reference.

    With ``lock`` it must be called in the transaction in which the body runs. Raises
    :class:`BodyNotCalled` where the task does not want to run with what is there.
    """
    task = call.task
    rows = read_rows(references, lock=option_of(task, "lock") == "update")
    for reference in references:
        if reference not in rows and reference.snapshot is not None:
            rows[reference] = from_snapshot(reference)
    if missing := [reference for reference in references if reference not in rows]:
        raise BodyNotCalled(option_of(task, "on_missing"), _missing(missing[0]))
    policy = option_of(task, "stale")
    if policy != "refresh" and (stale := _first_stale(task, references, rows)) is not None:
        raise BodyNotCalled(policy, stale, _with(call, lambda value: _at_present(value, rows)))
    request.given_rows = rows
    return _with(call, lambda value: _with_rows(value, rows))


async def rows_for_async(call: TaskCall, request: Any, references: Sequence[ModelRef]) -> TaskCall:
    """The same where an event loop must not wait for a database."""
    return await sync_to_async(_rows_in_thread)(call, request, references)


def instead_of_body(task: Any, not_called: BodyNotCalled) -> None:
    """Return if the task counts as done without its body; raise its error, or Celery's Retry."""
    what, reason = not_called.what, not_called.reason
    if what == "skip":
        logger.info("Task %s[%s] is skipped: %s", task.name, task.request.id, reason)
    elif what == "retry":
        raise task.retry(exc=reason, countdown=_missing_delay(task))
    elif what == "requeue" and not_called.call is not None:
        call = not_called.call
        raise task.retry(args=list(call.args), kwargs=call.kwargs, exc=reason, countdown=0)
    else:
        raise reason


def renewed(value: Any, rows: Rows) -> Any:
    """Return the value with the versions that a running task has brought its rows to added to its references.

    They are added, and the old ones stay: nobody knows yet whether its transaction is committed.
    """
    return replaced(value, lambda one: _with_version_reached(one, rows), within_signatures=False)


def _rows_in_thread(call: TaskCall, request: Any, references: Sequence[ModelRef]) -> TaskCall:
    close_old_connections()  # nobody else does so in this thread
    return rows_for(call, request, references)


def _with(call: TaskCall, change: Callable[[Any], Any]) -> TaskCall:
    return call._replace(args=change(call.args), kwargs=change(call.kwargs))


def _at_present(value: Any, rows: Rows) -> Any:
    def swap(one: Any) -> Any:
        if type(one) is not ModelRef or rows[one]._state.adding:
            return one
        return ModelRef(one.label, one.pk, one.db, version_of(rows[one]), one.snapshot)

    return replaced(value, swap, within_signatures=False)


def _with_rows(value: Any, rows: Rows) -> Any:
    return replaced(value, lambda one: rows[one] if type(one) is ModelRef else one, within_signatures=False)


def _missing(reference: ModelRef) -> Exception:
    error: Exception = reference.model.DoesNotExist(f"{reference} is not in the database {reference.db!r}")
    return error


def _missing_delay(task: Any) -> float:
    """Return the delay that the task or its class names; Celery's own default is not meant for this."""
    declared = next(cls for cls in type(task).__mro__ if "default_retry_delay" in vars(cls))
    return _MISSING_DELAY if declared is Task else task.default_retry_delay


def _first_stale(task: Any, references: Sequence[ModelRef], rows: Rows) -> StaleObject | None:
    """Return the error for the first row that has changed since the call; None if none has."""
    compared = False
    for reference in references:
        row = rows[reference]
        if reference.version is None or row._state.adding or declared_version(type(row)) is None:
            continue
        compared = True
        expected, found = reference.version.split(), version_of(row)
        if found is not None and found not in expected and _comparable(expected, found):
            return StaleObject(type(row)._meta.label, reference.pk, reference.version, found)
    if not compared and all(not row._state.adding for row in rows.values()):
        label = references[0].label
        raise ConfigurationError(
            f"{task.name}: stale={task.stale!r} has nothing to compare, as rows of {label!r} have no "
            "versions: add a VersionField to the model"
        )
    return None


def _comparable(expected: Sequence[str], found: str) -> bool:
    """Whether a version was told in the same way; a model may have got another one since the call."""
    return any(one[:2] == found[:2] for one in expected)


def _with_version_reached(value: Any, rows: Rows) -> Any:
    if type(value) is not ModelRef or value.version is None or value not in rows:
        return value
    try:
        version = version_of(rows[value])
    except (DatabaseError, ObjectDoesNotExist, SynchronousOnlyOperation):
        return value  # nothing can be read now: its transaction is broken, or an event loop runs here
    known = value.version.split()
    if version is None or version in known:
        return value
    versions = " ".join([known[0], *known[1:][-_VERSIONS_KEPT:], version])
    return ModelRef(value.label, value.pk, value.db, versions, value.snapshot)
