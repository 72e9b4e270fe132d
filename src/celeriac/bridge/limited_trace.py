"""The gate of limited tasks that every pool of every worker passes: Celery's tracer of the task.

The engine asks before it starts a task and holds its message back in the broker. Celery's own worker has
handed the message to its pool by then; there a refused task is published again with a countdown,
under the same id, before anybody has been told that it started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from billiard.einfo import ExceptionInfo
from celery.app.task import Context
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore
from celery.states import IGNORED
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

__all__ = ["limit_traces"]

logger = get_logger("celeriac.limits")

Trace = Callable[..., Any]
#: Under which the attribute is found that Celery knows as ``__trace__``.
_TRACE: Final = "_limited_trace"


class _LimitedTrace:
    """Stands for ``__trace__`` in the class of a limited task: whatever tracer is set asks first."""

    def __get__(self, task: Any, _owner: Any = None) -> Trace | None:
        return None if task is None else task.__dict__.get(_TRACE)

    def __set__(self, task: Any, trace: Trace | None) -> None:
        task.__dict__[_TRACE] = trace and _asking_first(task, trace)


def limit_traces(task: Any) -> None:
    """Let every tracer of the task, those that are made later too, ask before it runs the task."""
    if not isinstance(vars(type(task)).get("__trace__"), _LimitedTrace):
        made = task.__trace__
        vars(task).pop("__trace__", None)
        type(task).__trace__ = _LimitedTrace()
        task.__trace__ = made


def _asking_first(task: Any, trace: Trace) -> Trace:
    def limited(uuid: str, args: Any, kwargs: Any, request: Mapping[str, Any] | None = None) -> Any:
        app = task.app
        if task.name not in app.limits.gated:
            return trace(uuid, args, kwargs, request)
        gatekeeper = app.gatekeeper
        while not gatekeeper.has_passed(uuid):
            due = gatekeeper.hold_back(task.name, uuid, args, kwargs)
            if due is None:
                break
            try:
                return _put_off(task, Context(request or {}, args=args, kwargs=kwargs), due)
            except OperationalError as error:
                # Its message may have been acked, so it is not let go of: it waits here.
                logger.warning("task %s[%s] waits in its process: %s", task.name, uuid, error)
                time.sleep(max(due - time.time(), 0.1))
        try:
            return trace(uuid, args, kwargs, request)
        finally:
            gatekeeper.ended(uuid)

    return limited


def _put_off(task: Any, request: Any, due: float) -> Any:
    """Publish the task's message once more, to be started when it is due; return a tracer's answer."""
    countdown = max(due - time.time(), 0.0)
    # It is the same call, so that it holds already what makes it unique.
    task.signature_from_request(
        request, request.args, request.kwargs, countdown=countdown, unique=False
    ).apply_async(add_to_parent=False)
    logger.info("Task %s[%s] is over its limit: again in %.2fs", task.name, request.id, countdown)
    try:
        raise Ignore("it is over its limit and was published again")
    except Ignore as ignored:
        return trace_ok_t(ExceptionInfo(internal=True), TraceInfo(IGNORED, ignored), 0.0, None)
