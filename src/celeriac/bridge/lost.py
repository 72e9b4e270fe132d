"""What Celery's worker does in its main process for a task whose own process is gone."""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals, states
from celery.utils.log import get_logger
from celery.worker.request import Request

from celeriac.bridge.installed_celery import RETRIES_LOST_TASKS

__all__ = ["announce_overdue", "asks_for_retry", "retry_lost", "send_failure"]

# The name under which Celery itself logs this, and under which people look for it.
logger = get_logger("celery.worker.request")


def asks_for_retry(task: Any) -> bool:
    """Whether the task is to be published again when its process is lost."""
    return RETRIES_LOST_TASKS and bool(getattr(task, "retry_on_worker_lost", False))


def retry_lost(request: Request, task: Any, error: Exception) -> bool:
    """Publish a retry, if the task asks for one when its process is lost; return whether it did."""
    if not asks_for_retry(task):
        return False
    retries = request._context.retries
    if task.max_retries is not None and retries >= task.max_retries:
        return False
    return bool(request._retry_worker_lost(error, _explained(error)))


def announce_overdue(request: Request, task: Any, error: Exception, limit: float) -> None:
    """Log that a task was over its hard time limit, and call its handlers."""
    logger.error("Hard time limit (%ss) exceeded for %s[%s]", limit, request.name, request.id)
    task.on_failure(error, request.id, request.args, request.kwargs, _explained(error))
    task.after_return(states.FAILURE, error, request.id, request.args, request.kwargs, None)


def send_failure(request: Request, task: Any, error: Exception) -> None:
    """Tell the receivers of ``task_failure``, to whom the task shows the request that failed."""
    einfo = _explained(error)
    task.request_stack.push(request._context)
    try:
        signals.task_failure.send(
            sender=task,
            task_id=request.id,
            exception=error,
            args=request.args,
            kwargs=request.kwargs,
            traceback=einfo.traceback,
            einfo=einfo,
        )
    finally:
        task.request_stack.pop()


def _explained(error: Exception) -> ExceptionInfo:
    """Return the exception as Celery hands it to handlers and receivers."""
    try:
        raise error
    except type(error):
        return ExceptionInfo()
