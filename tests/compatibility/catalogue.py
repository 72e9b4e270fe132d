"""What Celery has, as Celery itself tells it, and what Celeriac adds to it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from celery import Celery, Task, canvas, signals
from celery.app.amqp import AMQP
from celery.app.defaults import NAMESPACES, flatten
from celery.bin.worker import worker
from celery.worker.control import Panel

import celeriac
from celeriac.core.settings import Settings

__all__ = ["FREE_KINDS", "KINDS", "OUR_OPTIONS", "catalogue", "is_ours", "spellings"]

#: What a mark may speak of, with the heading of its part of the page.
KINDS = {
    "worker option": "Options of `celery worker`",
    "setting": "Settings",
    "task option": "Options and methods of tasks",
    "canvas": "Canvas",
    "signal": "Signals",
    "control command": "Remote control",
    "log line": "Log lines",
    "shutdown": "Shutdown",
    "package": "Packages",
    "beyond": "Beyond Celery",
}
#: Kinds of which Celery keeps no list: a mark may name anything.
FREE_KINDS = frozenset({"log line", "shutdown", "package", "beyond"})

#: What autoretry looks up by name (celery/app/autoretry.py), which no signature tells.
_AUTORETRY = (
    *("autoretry_for", "dont_autoretry_for"),
    *("retry_kwargs", "retry_backoff", "retry_backoff_max", "retry_jitter"),
)
#: What ``Task._get_exec_options`` copies into each message (celery/app/task.py), and kombu's own options.
_SENDING = (
    *("queue", "routing_key", "exchange", "priority", "expires", "serializer", "delivery_mode"),
    *("compression", "time_limit", "soft_time_limit", "immediate", "mandatory"),
    *("headers", "retry", "retry_policy"),
)
#: What Celery calls the signatures that ``Task.map`` and ``Task.starmap`` make.
_CANVAS_METHODS = {"map": "xmap", "starmap": "xstarmap"}
#: Options of a task that Celery's worker does not know; its Task class takes any.
OUR_OPTIONS = frozenset({"dead_letter", "unique", "global_rate_limit", "max_concurrency"})


def catalogue() -> Mapping[str, list[str]]:
    """Everything that the page must account for, by kind, in Celery's order."""
    return {
        "worker option": [options[0] for options in _worker_options()],
        "setting": [name for name, _ in flatten(NAMESPACES)],
        "task option": _unique([*_task_attributes(), *_declared_options(), *_AUTORETRY, *_sent_options()]),
        "canvas": _unique([*canvas.__all__, *_methods(canvas.Signature), "add_to_chord"]),
        "signal": list(signals.__all__),
        "control command": list(Panel.meta),
    }


def spellings() -> Mapping[str, Mapping[str, str]]:
    """The other names of things in the catalogue: ``{kind: {other name: name}}``."""
    aliases = {meta.alias: name for name, meta in Panel.meta.items() if meta.alias}
    options = {short: names[0] for names in _worker_options() for short in names[1:]}
    return {"control command": aliases, "worker option": options, "canvas": _CANVAS_METHODS}


def is_ours(kind: str, name: str) -> bool:
    """Whether this is one of the names that Celeriac adds to Celery's."""
    ours = set(dir(celeriac.Celery("any", set_as_current=False).Task)) - set(dir(Task))
    return {
        "setting": name in {field.name for field in msgspec.structs.fields(Settings)},
        "task option": name in OUR_OPTIONS | ours,
    }.get(kind, False)


def _worker_options() -> list[list[str]]:
    """The names of each option, the long one first."""
    return [sorted(option.opts, key=lambda name: not name.startswith("--")) for option in worker.params]


def _task_attributes() -> list[str]:
    return [name for name in _public(Task) if not inspect.isclass(vars(Task)[name])]


def _declared_options() -> list[str]:
    """What ``@app.task(...)`` takes by name."""
    return _parameters(Celery._task_from_fun, leave_out={"fun"})


def _sent_options() -> list[str]:
    """What ``apply_async``, ``send_task`` and ``retry`` take."""
    taken = [_parameters(function) for function in (Task.apply_async, Celery.send_task, Task.retry)]
    return [*_SENDING, *(name for names in taken for name in names), *_parameters(AMQP.as_task_v2)]


def _parameters(function: Any, leave_out: Iterable[str] = ()) -> list[str]:
    named = inspect.signature(function).parameters.values()
    return [p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in {"self", *leave_out}]


def _public(owner: type) -> list[str]:
    return [name for name in vars(owner) if not name.startswith("_")]


def _methods(owner: type) -> list[str]:
    return [name for name in _public(owner) if inspect.isfunction(vars(owner)[name])]


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
