"""Tasks whose effects happen once: they run in a transaction that begins with an entry in the inbox."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec
from celery.exceptions import Ignore
from celery.utils.log import get_logger
from django.db import InterfaceError, OperationalError, connections, transaction
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.coroutine import is_async, retry_or_raise
from celeriac.bridge.django.step import Proceed, TaskCall
from celeriac.core.errors import AlreadyDone, ConfigurationError, KeyReused
from celeriac.django import inbox_table
from celeriac.django.inbox import doing
from celeriac.django.old_rows import OldRows
from celeriac.limits.arguments import Signature, fingerprint

__all__ = ["inbox_step", "options_of_inbox"]

logger = get_logger("celeriac.inbox")

#: What a duplicate comes to: the result of the first, nothing at all, or a failure.
_ON_DUPLICATE: Final = ("return", "skip", "raise")
#: What has returned nothing yet, and will be read if nothing else is written.
_NOTHING: Final = "null"
#: libpq's word for a transaction that can only be rolled back.
_IN_ERROR: Final = 3
#: Seconds at most between two attempts to open a transaction.
_PATIENCE: Final = 60.0


def options_of_inbox(asked: Callable[[str], Any]) -> dict[str, Any]:
    """Return what an idempotent task is to have: its message stays until its transaction is committed."""
    if not (asked("idempotent") or asked("idempotency_key")):
        return {}
    return {"acks_late": True, "reject_on_worker_lost": True}


def inbox_step(task: Any) -> InboxStep | None:
    """Return the step of a task that is idempotent; None for others."""
    key = _given_key(task)
    if not (getattr(task, "idempotent", None) or key):
        return None
    if is_async(task):
        raise ConfigurationError(
            f"{task.name} cannot be idempotent as it is an async def, and Django has no such transactions:"
            " make it a plain function, or have it call one that uses celeriac.django.inbox.once"
        )
    on_duplicate = getattr(task, "on_duplicate", "return")
    if on_duplicate not in _ON_DUPLICATE:
        raise ConfigurationError(f"{task.name}: on_duplicate is one of {', '.join(map(repr, _ON_DUPLICATE))}")
    return InboxStep(task, key, on_duplicate, getattr(task, "using", None))


class _Entry(NamedTuple):
    database: str
    consumer: str
    key: str
    fingerprint: str


class _Outcome(msgspec.Struct):
    """What has come of a run so far."""

    value: Any = None
    #: Raised by the body, after which its effects are committed all the same.
    ignored: Ignore | None = None
    #: Whether the task's own code has begun, and whether an error of its own is on its way.
    begun: bool = False
    failed: bool = False
    #: Whether an entry has been added.
    first: bool = False


class InboxStep:
    """The body and the entry that says it has run are committed together, or neither is."""

    def __init__(self, task: Any, key: Any, on_duplicate: str, using: str | None) -> None:
        """``key`` is a function of the arguments, or names some of them; None: the message's id."""
        self._app = task.app
        self._signature = Signature(task.run)
        self._names = (key,) if isinstance(key, str) else key
        self._using = using
        self._on_duplicate = on_duplicate
        self._keeps_result = on_duplicate == "return"
        if isinstance(self._names, Sequence):
            try:
                self._signature.check_names(self._names)
            except ConfigurationError as error:
                raise ConfigurationError(f"{task.name}: {error}") from None

    def run(self, call: TaskCall, proceed: Proceed) -> Any:
        entry = self._entry(call)
        outcome = _Outcome()
        try:
            with transaction.atomic(using=entry.database):
                self._run_once(entry, call, proceed, outcome)
        except Exception as error:
            # Nothing has been committed, but for an error of a hook that ran after the commit.
            if outcome.failed or call.task.request.is_eager:
                raise
            return _retry_transaction(call, error, begun=outcome.begun)
        if outcome.first:
            self._old_entries.added(entry.database)
        if outcome.ignored is not None:
            raise outcome.ignored
        return outcome.value

    def _run_once(self, entry: _Entry, call: TaskCall, proceed: Proceed, outcome: _Outcome) -> None:
        outcome.first = inbox_table.add(*entry, _NOTHING if self._keeps_result else None)
        outcome.begun = True
        if not outcome.first:
            outcome.value = self._repeat(entry, call, outcome)
            return
        try:
            with doing(entry.consumer, entry.key):
                outcome.value = proceed(call)
        except Ignore as ignored:
            outcome.ignored = ignored
        except BaseException:  # the transaction is rolled back
            outcome.failed = True
            raise
        if _is_broken(connections[entry.database]):
            outcome.failed = True
            raise transaction.TransactionManagementError(
                f"an error of the database was caught in {call.task.name}, whose transaction cannot be"
                " committed any more: put what may fail into a transaction.atomic() of its own"
            )
        self._keep_result(entry, outcome)

    def _keep_result(self, entry: _Entry, outcome: _Outcome) -> None:
        if not self._keeps_result or (outcome.value is None and outcome.ignored is None):
            return
        try:
            text = None if outcome.ignored else dumps(outcome.value)
        except (EncodeError, TypeError, ValueError) as error:
            outcome.failed = True
            raise ConfigurationError(
                f"the result of {entry.consumer} cannot be kept for duplicates ({error}):"
                " return plain data, or set on_duplicate='skip'"
            ) from None
        inbox_table.set_result(entry.database, entry.consumer, entry.key, text)

    def _repeat(self, entry: _Entry, call: TaskCall, outcome: _Outcome) -> Any:
        """Return what the first run has returned, or raise what a duplicate is to come to."""
        kept = inbox_table.find(entry.database, entry.consumer, entry.key)
        if kept is None:  # it has been deleted just now
            raise OperationalError("an entry of the inbox is gone: try again")
        outcome.failed = True  # from here on nothing is to be tried again
        if kept.fingerprint and entry.fingerprint and kept.fingerprint != entry.fingerprint:
            raise KeyReused(entry.consumer, entry.key)
        logger.info("Task %s[%s] has been done before", call.task.name, call.task.request.id)
        if self._on_duplicate == "raise":
            raise AlreadyDone(entry.consumer, entry.key)
        if self._on_duplicate == "skip" or kept.result is None:
            raise Ignore("it has been done before")
        return loads(kept.result)

    def _entry(self, call: TaskCall) -> _Entry:
        return _Entry(
            database=inbox_table.database(self._using),
            consumer=call.task.name,
            key=self._key(call),
            fingerprint=self._fingerprint(call),
        )

    def _key(self, call: TaskCall) -> str:
        if callable(self._names):
            return inbox_table.key_text(self._names(*call.args, **call.kwargs))
        if self._names:
            values = self._signature.values(call.args, call.kwargs)
            return inbox_table.key_text(*(values.get(name) for name in self._names))
        request = call.task.request
        # A task that replaces itself by itself has the same id, and is another one.
        nesting = request.get("replaced_task_nesting") or 0
        return inbox_table.key_text(request.id, nesting) if nesting else inbox_table.key_text(request.id)

    def _fingerprint(self, call: TaskCall) -> str:
        try:
            return fingerprint(self._signature.values(call.args, call.kwargs))
        except ConfigurationError:
            return ""  # arguments that are no plain data cannot be compared

    @cached_property
    def _old_entries(self) -> OldRows:
        return OldRows(inbox_table.delete_before, read_settings(self._app).inbox_retention_seconds)


def _given_key(task: Any) -> Any:
    """Return what was given as key: a function must not become a method of the task."""
    key = inspect.getattr_static(type(task), "idempotency_key", None)
    return key.__func__ if isinstance(key, staticmethod) else key


def _retry_transaction(call: TaskCall, error: Exception, *, begun: bool) -> Any:
    """Raise the retry of a task whose transaction could not be opened, or not be committed; or the error."""
    if begun or not isinstance(error, OperationalError | InterfaceError):
        return retry_or_raise(call.task, error, call.args, call.kwargs)
    # The database is busy or away, and the body has not begun: nothing speaks against another attempt.
    raise call.task.retry(exc=error, countdown=min(2.0**call.task.request.retries, _PATIENCE)) from error


def _is_broken(connection: Any) -> bool:
    """Whether the open transaction can only be rolled back, which ``atomic`` would do without a word."""
    status = getattr(getattr(connection.connection, "info", None), "transaction_status", None)
    return bool(connection.needs_rollback or status == _IN_ERROR)
