"""Tasks run by the process that called them, for tests: the message and the tracer are a worker's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import states
from celery.app.trace import trace_task
from kombu.serialization import prepare_accept_content

from celeriac.bridge.kept_chords import ChordTeller
from celeriac.bridge.outgoing import Departures
from celeriac.bridge.requests import stock_request
from celeriac.bridge.wire import Delivered, decode
from celeriac.core.errors import ConfigurationError
from celeriac.core.outbox import Outbox, Outgoing
from celeriac.django.celery_side import Published

__all__ = ["keeping", "read", "run"]

_HOSTNAME = "celery@test"


class _KeptDepartures(Departures):
    """Keeps also what is not to wait for a transaction."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(outbox)
        self._kept_in = outbox

    def transaction(self) -> str | None:
        return self._kept_in.transaction(self._place.get().using)


class _KeptFramework:
    """An app's framework, but for what keeps its messages."""

    def __init__(self, framework: Any, departures: Departures) -> None:
        self._framework = framework
        self.departures = departures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._framework, name)


@contextmanager
def keeping(app: Any, outbox: Outbox) -> Iterator[None]:
    """Messages of the app go into this outbox, and none to a broker, for the time of the block."""
    if not hasattr(app, "departures"):
        raise ConfigurationError("the project's Celery app is not Celeriac's: run manage.py check")
    before = app.framework
    app.framework = _KeptFramework(before, _KeptDepartures(outbox))
    try:
        yield
    finally:
        app.framework = before


def read(app: Any, outgoing: Outgoing) -> Published:
    """Return what the message asks for."""
    delivered = _decode(app, outgoing)
    return Published(
        id=delivered.id,
        task=delivered.task,
        args=tuple(delivered.args),
        kwargs=delivered.kwargs,
        queue=outgoing.message.queue,
        due=outgoing.message.due,
    )


def run(app: Any, outgoing: Outgoing) -> BaseException | None:
    """Run the task; return what it has failed with for good."""
    refused: list[str] = []
    [outgoing] = ChordTeller(app).told([outgoing], lambda _place, reason: refused.append(reason))
    if refused:
        return ConfigurationError(refused[0])
    delivered = _decode(app, outgoing)
    app.loader.import_default_modules()
    if delivered.task not in app.tasks:
        return ConfigurationError(f"unknown task {delivered.task!r}: is its module a tasks.py of an app?")
    task = app.tasks[delivered.task]
    request = stock_request(app, task, delivered, None, _HOSTNAME)
    context = {
        **delivered.headers,
        **delivered.embed,
        "args": delivered.args,
        "kwargs": delivered.kwargs,
        "is_eager": False,
        "hostname": _HOSTNAME,
        "delivery_info": request.delivery_info,
    }
    _, info, _, _ = trace_task(
        task, delivered.id, delivered.args, delivered.kwargs, context, app=app, hostname=_HOSTNAME
    )
    if info is None or info.state not in (states.FAILURE, states.REJECTED):
        return None
    error: BaseException = info.retval
    return error


def _decode(app: Any, outgoing: Outgoing) -> Delivered:
    return decode(outgoing.message.payload, frozenset(prepare_accept_content(app.conf.accept_content)))
