"""``task.delay()`` of an ordinary task: what Celery's ``apply_async`` comes to, without the way there."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from celery._state import get_current_worker_task
from celery.app.task import Task

from celeriac.bridge.plain_calls import Kinds, PlainCalls, Prepared, is_published_loudly, needs_no_word
from celeriac.bridge.template import Template
from celeriac.bridge.wrapped import calls_are_wrapped

__all__ = ["DirectCalls", "is_ordinary", "merged_options"]

_MOST_PLANS: Final = 10_000
_NO_OPTIONS: Final[dict[str, Any]] = {}


class _Plan(msgspec.Struct, frozen=True):
    """How a thread publishes a task as long as the task's own options are these."""

    task: Any
    task_options: dict[str, Any]
    ignore_result: bool
    #: What its messages are filled in from; None if they are not plain.
    template: Template | None


class DirectCalls:
    """Prepares the messages of calls that come with arguments and nothing else."""

    def __init__(self, plain_calls: PlainCalls, app: Any) -> None:
        self._plain_calls = plain_calls
        self._app = app

    def prepare(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prepared | None:
        """Return the message of the call; None if Celery's own way is to be taken.

        Raises TypeError for arguments that do not fit.
        """
        template = self._template(task)
        if template is None:
            return None
        if task.typing and (check := getattr(task, "__header__", None)) is not None:
            check(*args, **kwargs)
        parent = get_current_worker_task()
        ahead = None if task.ignore_result else getattr(self._app.backend, "ids_ahead", None)
        if ahead is None or (task_id := ahead.take_id()) is None:
            return self._plain_calls.fill(template, args, kwargs, _NO_OPTIONS, parent)
        prepared = self._plain_calls.fill(template, args, kwargs, {"task_id": task_id}, parent)
        if prepared is None:
            ahead.put_id_back(task_id)
        return prepared

    def _template(self, task: Any) -> Template | None:
        if is_published_loudly() or not is_ordinary(task):
            return None
        kinds = self._plain_calls.kinds()
        plan = kinds.plans.get(id(task))
        if not isinstance(plan, _Plan) or not _is_of(plan, task):
            plan = self._make_plan(task, kinds)
        if plan.ignore_result or needs_no_word(self._app.backend):
            return plan.template
        return None

    def _make_plan(self, task: Any, kinds: Kinds) -> _Plan:
        options = merged_options(task, _NO_OPTIONS)
        template = self._plain_calls.template_for(task.name, options)
        if len(kinds.plans) >= _MOST_PLANS:
            kinds.plans.clear()
        plan = _Plan(task, task._get_exec_options(), options["ignore_result"], template)
        kinds.plans[id(task)] = plan
        return plan


def _is_of(plan: _Plan, task: Any) -> bool:
    return (
        plan.task is task
        and plan.task_options is task._exec_options
        and plan.ignore_result == task.ignore_result
    )


def merged_options(task: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return what ``Task.apply_async`` makes of the options of a call."""
    merged = {**task._get_exec_options(), **options, "task_type": task}
    merged.setdefault("ignore_result", task.ignore_result)
    merged.setdefault("shadow", None)
    return merged


def is_ordinary(task: Any) -> bool:
    """Whether ``task.apply_async`` is nothing but ``app.send_task`` with its arguments."""
    kind = type(task)
    return (
        kind.apply_async is Task.apply_async
        and "apply_async" not in vars(task)
        and kind.shadow_name is Task.shadow_name
        and not task.__v2_compat__
        and getattr(task, "_dump_pydantic_arguments", None) is None
        and not ((soft := task.soft_time_limit) and (hard := task.time_limit) and soft > hard)
        and not calls_are_wrapped()
    )
