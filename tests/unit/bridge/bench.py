"""An app with some tasks, an executor that runs them in this process, and an ear for signals."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from celeriac import Celery
from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.orders import Orders
from celeriac.bridge.task_events import TaskEvents
from celeriac.bridge.totals import Totals
from celeriac.bridge.wire import encode
from celeriac.core.executor import Outcome
from celeriac.core.lease import DeadLetter, Lease
from celeriac.core.message import Message

__all__ = ["HOST", "Bench", "hearing"]

HOST = "worker@test"


class CallableTask(Task):  # type: ignore[misc]
    """A task class with a ``__call__`` of its own, as older projects have them."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return f"<{self.run(*args, **kwargs)}>"


class Bench:
    """An app with some tasks, and an executor that runs them."""

    def __init__(self, folder: Path, **configuration: Any) -> None:
        self.path = folder / "broker.db"
        backend = configuration.pop("backend", "cache+memory://")
        self.app = Celery("bench", broker=f"sqlite:///{self.path}", backend=backend, set_as_current=False)
        self.app.conf.update(configuration)
        self.notes: list[Any] = []
        self._life = uuid4().hex  # the memory backend and Celery's list of revoked ids are the process's
        self._tasks()
        self.app.finalize()
        self.totals = Totals(self.app.tasks)
        self.orders = Orders(self.app, TaskEvents(self.app, HOST, wanted=False, pid=os.getpid()), None)
        self.executor = self.make_executor()

    def make_executor(self, *, hold_results: bool = True) -> CeleryExecutor:
        """Another executor of the same app, as another process has it."""
        count = self.totals.counter(0).add
        return CeleryExecutor(self.app, HOST, self.orders, count, hold_results=hold_results)

    def _tasks(self) -> None:
        task = partial(self.app.task, shared=False)

        def late(name: str, **options: Any) -> Callable[..., Any]:
            return task(name=name, acks_late=True, **options)  # type: ignore[no-any-return]

        task(name="add")(self._add)
        task(name="fail")(self._fail)
        late("fail_late")(self._fail)
        late("fail_unacked", acks_on_failure_or_timeout=False)(self._fail)
        late("ignore")(self._ignore)
        late("reject")(self._reject)
        task(name="reject_early")(self._reject)
        task(name="slow", soft_time_limit=0.05)(self._slow)
        task(name="called", base=CallableTask)(self._same)

        @task(name="quiet", ignore_result=True)
        def quiet(what: Any) -> None:
            self.notes.append(what)

        @late("retry", bind=True, max_retries=3)
        def retry(task: Any, text: str) -> None:
            raise task.retry(exc=ValueError(text), countdown=30)

        @task(name="whoami", bind=True)
        def whoami(task: Any, *_: Any) -> None:
            self.notes.append(dict(vars(task.request)))

    def _add(self, x: Any, y: Any) -> Any:
        return x + y

    def _same(self, what: Any) -> Any:
        return what

    def _fail(self, text: str) -> None:
        raise ValueError(text)

    def _ignore(self) -> None:
        raise Ignore

    def _reject(self, requeue: bool) -> None:
        raise Reject("no good", requeue=requeue)

    def _slow(self) -> str:
        try:
            time.sleep(20)
        except SoftTimeLimitExceeded:
            return "interrupted"
        return "ran on"

    def id(self, name: str) -> str:
        """The id of the one call of this task."""
        return f"{name}-{self._life}"

    def lease(self, name: str, *args: Any, deliveries: int = 1, **options: Any) -> Lease:
        """A delivery of a call of this task; ``headers`` among the options are added to its own."""
        extra, serializer = options.pop("headers", {}), options.pop("serializer", "json")
        message = self.app.amqp.as_task_v2(self.id(name), name, args, **options)
        payload = encode(
            message.body,
            headers={**message.headers, **extra},
            properties={**message.properties, "priority": 4},
            queue="celery",
            serializer=serializer,
        )
        return Lease("1", "me", Message(queue="celery", payload=payload), deliveries)

    def run(self, name: str, *args: Any, **options: Any) -> Outcome:
        return self.executor.run(self.executor.decode(self.lease(name, *args, **options)))

    def result(self, name: str) -> Any:
        """The result object of the one call of this task."""
        return self.app.AsyncResult(self.id(name))

    def letter(self, name: str, *args: Any, reason: str = "died 3 times", **options: Any) -> DeadLetter:
        message = self.lease(name, *args, **options).message
        return DeadLetter(id="1", message=message, reason=reason, died_at=0.0, deliveries=3)


@contextmanager
def hearing(*kinds: Any) -> Iterator[list[dict[str, Any]]]:
    """What receivers of these signals are told, in order."""
    heard: list[dict[str, Any]] = []

    def receiver(**told: Any) -> None:
        heard.append(told)

    for kind in kinds:
        kind.connect(receiver)
    try:
        yield heard
    finally:
        for kind in kinds:
            kind.disconnect(receiver)
