"""Running tasks as remote control knows them: Celery's requests, made from what the shards say."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from billiard.common import TERM_SIGNAME
from celery.platforms import signals as platform_signals
from celery.worker import state
from celery.worker.request import Request
from kombu.utils.json import dumps as json_dumps
from kombu.utils.json import loads as json_loads

from celeriac.bridge.sequels import sequels_of
from celeriac.engine.note import Note
from celeriac.observe.report import Sequel

__all__ = ["RunningRequest", "announce_terminated", "describe_running", "expected_of", "show_running"]

Terminate = Callable[[str, int], None]


def describe_running(app: Any, request: Request, started_at: float) -> bytes:
    """Return what a shard says of a task it runs."""
    own = {
        "time_start": started_at,
        "worker_pid": os.getpid(),
        "acknowledged": not request.task.acks_late,  # one that has started is not started twice
        "argsrepr": request.argsrepr,
        "kwargsrepr": request.kwargsrepr,
        "stamps": request.stamps,
        "sequels": sequels_of(app, request),
    }
    try:
        return bytes(json_dumps({**request.info(), **own}).encode())
    except (TypeError, ValueError):  # arguments that only another serializer can carry
        return bytes(json_dumps({**request.info(safe=True), **own}).encode())


class RunningRequest:
    """As much of Celery's Request as the handlers of remote control use of a running task's."""

    def __init__(self, app: Any, facts: dict[str, Any], terminate: Terminate) -> None:
        self.id: str = facts["id"]
        self.name: str = facts["name"]
        self.task = app.tasks.get(facts["type"])
        self.stamps: dict[str, Any] = facts.pop("stamps")
        facts.pop("sequels")
        self._reprs = {"args": facts.pop("argsrepr"), "kwargs": facts.pop("kwargsrepr")}
        self._facts = facts
        self._terminate = terminate

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What ``inspect active`` and ``query_task`` answer; ``safe``: arguments as text."""
        return {**self._facts, **self._reprs} if safe else self._facts

    def terminate(self, _pool: Any, signal: Any = None) -> None:
        """The process that runs it gets the signal."""
        self._terminate(self.id, platform_signals.signum(signal or TERM_SIGNAME))


def show_running(app: Any, notes: Iterable[Note], terminate: Terminate) -> None:
    """Put what runs now, and nothing else, where Celery's handlers look."""
    state.requests.clear()
    state.active_requests.clear()
    for note in notes:
        try:
            request = RunningRequest(app, json_loads(note.text), terminate)
        except (ValueError, TypeError, KeyError):
            continue  # it could not be described, or its arguments cannot be read as JSON
        state.requests[request.id] = request
        state.active_requests.add(request)


def expected_of(notes: Iterable[Note]) -> Iterator[Sequel]:
    """Yield what the tasks that run will send."""
    for note in notes:
        try:
            facts = json_loads(note.text)
            for whose, queue, count in facts["sequels"]:
                yield Sequel(whose, queue, count, facts["type"], facts["time_start"])
        except (ValueError, TypeError, KeyError):
            continue  # as above


def announce_terminated(request: Request, signum: int) -> None:
    """Store, signal and tell that the task was revoked while it ran, as Celery does."""
    request._announce_revoked("terminated", True, signal.Signals(signum), False)
