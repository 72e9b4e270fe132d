"""The moments of a task at which locks and places are taken over and given up.

They are Celery's own signals, which the engine and Celery's worker send alike: also for a task that
was revoked, has expired, was killed with its process or was over its time limit.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.states import REJECTED, RETRY

from celeriac.bridge.unique_calls import HEADER

__all__ = ["listen"]


def listen(task: Any) -> None:
    """Take notice of what happens to the task."""
    limits = task.app.limits
    if task.name in limits.gated:
        signals.task_prerun.connect(_keep_places, sender=task, weak=False, dispatch_uid=f"places {task.name}")
        signals.task_postrun.connect(_leave, sender=task, weak=False, dispatch_uid=f"places {task.name}")
        signals.task_revoked.connect(
            _leave_unstarted, sender=task, weak=False, dispatch_uid=f"places {task.name}"
        )
    if task.name in limits.unique:
        uid = f"unique {task.name}"
        signals.task_prerun.connect(_hold_or_release, sender=task, weak=False, dispatch_uid=uid)
        signals.task_postrun.connect(_release_if_done, sender=task, weak=False, dispatch_uid=uid)
        signals.task_failure.connect(_release_failed, sender=task, weak=False, dispatch_uid=uid)
        signals.task_revoked.connect(_release_revoked, sender=task, weak=False, dispatch_uid=uid)


def _keep_places(sender: Any, task_id: str, **_: Any) -> None:
    hard, _soft = sender.request.timelimit or (None, None)
    sender.app.gatekeeper.started(task_id, hard or sender.time_limit)


def _leave(sender: Any, task_id: str, **_: Any) -> None:
    sender.app.gatekeeper.ended(task_id)


def _leave_unstarted(sender: Any, request: Any, terminated: bool = False, **_: Any) -> None:
    if not terminated:  # or it runs on until it notices
        sender.app.gatekeeper.ended(request.id)


def _hold_or_release(sender: Any, task_id: str, **_: Any) -> None:
    if held := sender.request.get(HEADER):
        key, until, within = held
        if until == "done":
            sender.app.unique_calls.hold(key, task_id, within)
        else:
            sender.app.unique_calls.release(key, task_id)


def _release_if_done(
    sender: Any, task_id: str, retval: Any = None, state: str | None = None, **_: Any
) -> None:
    if state == RETRY or (state == REJECTED and sender.acks_late and getattr(retval, "requeue", False)):
        return  # it is the same call that will run again
    _release(sender, task_id, sender.request.get(HEADER))


def _release_failed(sender: Any, task_id: str, args: Any = (), kwargs: Any = None, **_: Any) -> None:
    request = sender.request
    if request.id == task_id:
        _release(sender, task_id, request.get(HEADER))
        return
    # Its process was lost, and with it the message: what it held follows from its arguments.
    limits = sender.app.limits
    rule = limits.unique[sender.name]
    key = limits.unique_key(sender.name, rule, args or (), kwargs or {})
    _release(sender, task_id, (key, rule.until, rule.within))


def _release_revoked(sender: Any, request: Any, **_: Any) -> None:
    _release(sender, request.id, request.get(HEADER))


def _release(task: Any, task_id: str, held: Any) -> None:
    if held and held[1] != "expiry":
        task.app.unique_calls.release(held[0], task_id)
