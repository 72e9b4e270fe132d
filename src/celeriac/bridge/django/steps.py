"""How a task runs in a Django project: a short list of steps around its body.

They are carried by the task's class, so Celery's own worker takes them as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from celery.app.task import Task

from celeriac.bridge.django.inbox_step import inbox_step, options_of_inbox
from celeriac.bridge.django.step import Proceed, Step, TaskCall

__all__ = ["equip", "implied_options"]

#: The outermost first. Each returns what wraps this task's body, or None if the task does not ask for it.
_STEPS: Final[Sequence[Callable[[Any], Step | None]]] = (inbox_step,)
#: Each returns the options of Celery that follow from those of ours.
_IMPLIED: Final[Sequence[Callable[[Callable[[str], Any]], dict[str, Any]]]] = (options_of_inbox,)
#: Set on the request whose steps have begun: the task may call itself, which is a plain call.
_BEGUN: Final = "celeriac_steps_have_begun"
#: Set on a class' ``__call__`` that takes steps: what it has around the body of the class' own, or None.
_AROUND: Final = "celeriac_steps_around"


def implied_options(cls: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows for a task of this class with these options, as far as nobody has set it."""

    def asked(name: str) -> Any:
        given = options.get(name)
        return getattr(cls, name, None) if given is None else given

    implied = {name: value for imply in _IMPLIED for name, value in imply(asked).items()}
    return {name: value for name, value in implied.items() if asked(name) is None}


def equip(task: Any) -> None:
    """Whenever a worker calls the task, it takes the steps that it asks for; most tasks ask for none.

    Raises :class:`~celeriac.core.errors.ConfigurationError` for what cannot be.
    """
    if hasattr(vars(type(task)).get("__call__"), _AROUND):
        return
    steps = [step for make in _STEPS if (step := make(task)) is not None]
    if not steps:
        return
    own = _own_call(type(task))

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly or getattr(request, _BEGUN, False):
            return (own or Task.__call__)(self, *args, **kwargs)
        setattr(request, _BEGUN, True)
        return run(TaskCall(self, args, kwargs))

    def run_body(call: TaskCall) -> Any:
        if own is not None:
            return own(call.task, *call.args, **call.kwargs)
        call.task.request._protected = 1  # as Celery's worker does: its next call is one of its own
        return call.task.run(*call.args, **call.kwargs)

    run: Proceed = run_body
    for step in reversed(steps):
        run = partial(step.run, proceed=run)
    setattr(call, _AROUND, own)
    type(task).__call__ = call


def _own_call(cls: type[Any]) -> Callable[..., Any] | None:
    """Return what the class has in the place of Celery's ``__call__``, without any steps; None if nothing."""
    for base in cls.__mro__:
        if base is Task:
            break
        if (found := vars(base).get("__call__")) is not None:
            own: Callable[..., Any] | None = getattr(found, _AROUND, found)
            return own
    return None
