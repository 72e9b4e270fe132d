"""Tasks in tests of Django projects: what is published stays in the process, and runs when the test says so.

    class OrderTests(TasksMixin, TestCase):
        def test_an_order_is_shipped(self):
            place_order(parcel=7)
            self.assertPublished(ship, 7)
            self.drain()

No broker is needed. What is called in a transaction that is rolled back is not published, as ever; what
waits for the commit counts as published, as no transaction of a TestCase is ever committed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections

from celeriac.core.errors import ConfigurationError
from celeriac.core.outbox import Outgoing, Told
from celeriac.django.celery_side import CelerySide, Published
from celeriac.django.models import TaskRecord
from celeriac.django.transaction_end import at_end

__all__ = ["Published", "PublishedTasks", "TasksMixin", "keep_published"]

#: Celery's task that runs those of Django's framework.
_RUN_TASK: Final = "celeriac.django.run_task"
#: Runs after which drain() gives up, as tasks seem to call each other for ever.
_MOST_RUNS: Final = 1000


class PublishedTasks:
    """What has been published since it was made."""

    def __init__(self, celery: CelerySide) -> None:
        self._celery = celery
        self._waiting: list[Outgoing] = []
        self._published: list[Published] = []
        #: Of each database: how deep in transactions the test itself is, and what waits for their commit.
        self._depths = {one.alias: _depth(one) for one in connections.all()}
        self._hooks = {one.alias: len(one.run_on_commit) for one in connections.all()}

    # -- What a test asks for

    def published(self, task: Any = None) -> list[Published]:
        """Return the calls so far, also those that have run: all, or those of one task."""
        waiting = [self._read(one) for hook in self._own_hooks() for one in hook.outgoing]
        name = None if task is None else _name(task)
        return [one for one in (*self._published, *waiting) if name in (None, one.task)]

    def drain(self, *, raises: bool = True, delayed: bool = True) -> list[Published]:
        """Run what is published, and what that publishes, until nothing is left; return what has run.

        Functions that wait for the commit are called first. Delays are not waited for: what is due
        later runs last, or stays without ``delayed``. Priorities are those of Celeriac's brokers. With
        ``raises`` the first task that fails for good ends it with its exception.
        """
        ran: list[Published] = []
        while (outgoing := self._next(delayed)) is not None:
            if len(ran) == _MOST_RUNS:
                raise AssertionError(
                    f"{_MOST_RUNS} tasks have run, and {_told(self._read(outgoing))} is next"
                )
            ran.append(self._read(outgoing))
            error = self._celery.run(outgoing)
            if error is not None and raises:
                raise error
        return ran

    def assert_published(self, task: Any, *args: Any, **kwargs: Any) -> Published:
        """Return the latest call of the task with these arguments, with any if none are given."""
        for one in reversed(self.published(task)):
            if not (args or kwargs) or (one.args, one.kwargs) == (args, kwargs):
                return one
        wanted = Published(id="", task=_name(task), args=args, kwargs=kwargs)
        raise AssertionError(f"{_told(wanted)} was not published; {_all_told(self.published())}")

    def assert_nothing_published(self, task: Any = None) -> None:
        """Nothing was published, or no call of this task."""
        if found := self.published(task):
            raise AssertionError(_all_told(found))

    # -- The outbox that messages go into

    def transaction(self, using: str | None = None) -> str | None:
        """Return the database whose transaction, opened since the test began, is open; else any one."""
        if using is not None:
            return using
        open_now: list[str] = [
            one.alias for one in connections.all() if _depth(one) > self._depths[one.alias]
        ]
        if len(open_now) > 1:
            names = " or ".join(f"using={alias!r}" for alias in open_now)
            raise ConfigurationError(f"transactions are open on several databases: say {names}")
        return open_now[0] if open_now else DEFAULT_DB_ALIAS

    def add(self, database: str, outgoing: Sequence[Outgoing]) -> None:
        """They are published when the transaction is committed, or when the test asks."""
        hook = _Keep(self, outgoing)
        connection = connections[database]
        if _depth(connection) > self._depths[database]:
            connection.on_commit(hook)
        else:
            hook()

    def at_end(self, database: str, told: Told, what: Any) -> None:
        """Outside of transactions that the test has opened it is as if there had been a commit."""
        connection = connections[database]
        if _depth(connection) > self._depths[database]:
            at_end(connection, told, what)
        else:
            told(True, [what])

    # -- Parts of the above

    def _next(self, delayed: bool) -> Outgoing | None:
        self._commit()
        now = time.time()
        self._waiting.sort(key=lambda one: (max(one.message.due or 0, now), one.message.priority))
        first = self._waiting[0].message if self._waiting else None
        if first is None or not (delayed or (first.due or 0) <= now):
            return None
        return self._waiting.pop(0)

    def _commit(self) -> None:
        """What has waited for a commit since the test began is called, in its order."""
        for connection in connections.all():
            first = self._hooks[connection.alias]
            while len(connection.run_on_commit) > first:
                _, function, _ = connection.run_on_commit.pop(first)
                function()

    def _own_hooks(self) -> Iterator[_Keep]:
        for connection in connections.all():
            for _, function, _ in connection.run_on_commit:
                if isinstance(function, _Keep) and function.tasks is self:
                    yield function

    def _take(self, outgoing: Sequence[Outgoing]) -> None:
        self._waiting.extend(outgoing)
        self._published.extend(map(self._read, outgoing))

    def _read(self, outgoing: Outgoing) -> Published:
        call = self._celery.read(outgoing)
        return _call_of_record(call) if call.task == _RUN_TASK else call


class _Keep:
    """Waits for the commit, and is forgotten with a rollback."""

    def __init__(self, tasks: PublishedTasks, outgoing: Sequence[Outgoing]) -> None:
        self.tasks = tasks
        self.outgoing = outgoing

    def __call__(self) -> None:
        self.tasks._take(self.outgoing)


@contextmanager
def keep_published() -> Iterator[PublishedTasks]:
    """For the time of the block nothing goes to a broker."""
    celery: CelerySide = apps.get_app_config("celeriac").celery_side
    tasks = PublishedTasks(celery)
    with celery.keeping(tasks):
        yield tasks


class TasksMixin:
    """Stands before Django's TestCase or TransactionTestCase among the bases of a test class."""

    #: What the running test has published.
    tasks: PublishedTasks

    def run(self, result: Any = None) -> Any:
        with keep_published() as self.tasks:
            return super().run(result)  # type: ignore[misc]

    def published(self, task: Any = None) -> list[Published]:
        """See :meth:`PublishedTasks.published`."""
        return self.tasks.published(task)

    def drain(self, *, raises: bool = True, delayed: bool = True) -> list[Published]:
        """See :meth:`PublishedTasks.drain`."""
        return self.tasks.drain(raises=raises, delayed=delayed)

    def assertPublished(self, task: Any, *args: Any, **kwargs: Any) -> Published:  # noqa: N802 - unittest's way
        """See :meth:`PublishedTasks.assert_published`."""
        return self.tasks.assert_published(task, *args, **kwargs)

    def assertNothingPublished(self, task: Any = None) -> None:  # noqa: N802
        """See :meth:`PublishedTasks.assert_nothing_published`."""
        self.tasks.assert_nothing_published(task)


def _depth(connection: Any) -> int:
    return len(connection.savepoint_ids) + bool(connection.in_atomic_block)


def _name(task: Any) -> str:
    """Return the name of a task of Celery's or of Django's framework, or the name itself."""
    return str(getattr(task, "module_path", None) or getattr(task, "name", None) or task)


def _call_of_record(call: Published) -> Published:
    record = TaskRecord.objects.filter(pk=call.id).first()
    if record is None:
        return call
    return Published(
        id=call.id,
        task=record.path,
        args=tuple(record.args),
        kwargs=record.kwargs,
        queue=call.queue,
        due=call.due,
    )


def _told(call: Published) -> str:
    arguments = [*map(repr, call.args), *(f"{name}={value!r}" for name, value in call.kwargs.items())]
    return f"{call.task}({', '.join(arguments)})"


def _all_told(calls: Sequence[Published]) -> str:
    return "published were " + ", ".join(map(_told, calls)) if calls else "nothing was published"
