"""What the promises stand on: a backend as TASKS names it, and a way to run what it has queued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from django.test import override_settings

from celeriac.django.tasks.framework import (
    TaskResult,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from celeriac.testing import sample_tasks

__all__ = ["BackendCase", "Told"]

#: A signal's name, its sender, the result's id and its status then.
Told = tuple[str, Any, str, str]
_SIGNALS = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}


class BackendCase:
    """Mixed into Django's TransactionTestCase."""

    #: As in TASKS: ``{"BACKEND": "dotted.path", "OPTIONS": {...}}``.
    backend: ClassVar[Mapping[str, Any]]
    #: Whether a call runs its task before it returns.
    immediate: ClassVar[bool] = False
    #: Whether a rollback takes back what was called in the transaction.
    transactional: ClassVar[bool] = True

    def run_queued(self) -> None:
        """Run the tasks that are due, as a worker does; return when none is left."""
        raise NotImplementedError

    def run(self, result: Any = None) -> Any:
        with override_settings(TASKS={"default": self.backend}):
            return super().run(result)  # type: ignore[misc]

    #: The module of tasks.
    sample: ClassVar[Any] = sample_tasks

    @property
    def the_backend(self) -> Any:
        return task_backends["default"]

    def finish(self, result: TaskResult) -> TaskResult:
        """Return the result once the task has run."""
        if not self.immediate:
            self.needs("get_result")
            self.run_queued()
            result.refresh()
        return result

    def needs(self, capability: str) -> None:
        """Skip the test where the backend does not claim it."""
        if not getattr(self.the_backend, f"supports_{capability}"):
            pytest.skip(f"the backend does not claim {capability}")

    @contextmanager
    def signals(self) -> Iterator[list[Told]]:
        """What the framework's signals have told in this process since the block began."""
        told: list[Told] = []
        receivers = {}
        for name, signal in _SIGNALS.items():

            def receive(sender: Any, task_result: TaskResult, name: str = name, **_: Any) -> None:
                told.append((name, sender, task_result.id, str(task_result.status)))

            receivers[name] = receive
            signal.connect(receive)
        try:
            yield told
        finally:
            for name, receive in receivers.items():
                _SIGNALS[name].disconnect(receive)
