"""Remote control of an engine worker: Celery's commands, and what their effects mean to the shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from billiard.common import TERM_SIGNAME
from celery.exceptions import InvalidTaskError
from celery.platforms import signals as platform_signals
from celery.utils.functional import maybe_list
from celery.utils.serialization import jsonify
from celery.worker import state as worker_state
from celery.worker.control import Panel
from kombu.utils.encoding import safe_repr

from celeriac.bridge.limits import is_limit
from celeriac.bridge.requests import stock_request
from celeriac.bridge.running import show_running
from celeriac.bridge.shown_settings import shown_settings
from celeriac.bridge.wire import decode
from celeriac.core.errors import MalformedMessage
from celeriac.engine.notices import RateLimit, Revoked, StampsRevoked, TaskEvents, TimeLimits

__all__ = ["engine_handlers"]

_LISTED = 1000
#: What Celery's worker says of everything that waits in its timer; the message's own is in the request.
_TIMER_PRIORITY = 6

Answer = Any


def engine_handlers() -> dict[str, Callable[..., Any]]:
    """Return the handler of each command: Celery's and the app's own, with ours around or in their place."""
    ours: dict[str, Callable[..., Any]] = {
        "active": active,
        "conf": conf,
        "disable_events": disable_events,
        "dump_active": active,
        "dump_conf": conf,
        "dump_reserved": reserved,
        "dump_schedule": scheduled,
        "enable_events": enable_events,
        "hello": hello,
        "query_task": query_task,
        "rate_limit": rate_limit,
        "reserved": reserved,
        "revoke": revoke,
        "revoke_by_stamped_headers": revoke_by_stamped_headers,
        "scheduled": scheduled,
        "terminate": terminate,
        "time_limit": time_limit,
    }
    return {**Panel.data, **ours}


# -- What runs, and what waits


def active(state: Any, safe: bool = False, **_: Any) -> Answer:
    """List the tasks that have been running for a moment."""
    _show_running(state)
    return Panel.data["active"](state, safe=safe)


def query_task(state: Any, ids: Any, **_: Any) -> Answer:
    """Tell of the tasks with these ids that have been running for a moment."""
    _show_running(state)
    return Panel.data["query_task"](state, ids)


def reserved(_state: Any, **_: Any) -> Answer:
    """List nothing: what a shard has claimed and not started, it starts within milliseconds or gives back."""
    return []


def scheduled(state: Any, offset: int = 0, limit: int = _LISTED, **_: Any) -> Answer:
    """List delayed messages of this worker's queues, the next due first; they wait in the broker.

    At most a thousand, from the ``offset``-th on.
    """
    worker = state.consumer.controller
    first, most = max(0, int(offset)), min(_LISTED, max(0, int(limit)))
    found = []
    for entry in worker.engine.broker.scheduled(worker.engine.queues, first, most):
        try:
            delivered = decode(entry.message.payload, frozenset(["application/json"]))
            task = state.app.tasks[delivered.task]
            request = stock_request(state.app, task, delivered, None, state.hostname)
        except (MalformedMessage, KeyError, InvalidTaskError):
            continue
        found.append(
            {
                "eta": request.eta.isoformat() if request.eta else None,
                "priority": _TIMER_PRIORITY,
                "request": request.info(),
            }
        )
    return found


def conf(state: Any, with_defaults: bool = False, **_: Any) -> Answer:
    """List the configuration, passwords masked."""
    return jsonify(
        shown_settings(state.app, with_defaults=with_defaults),
        keyfilter=lambda key: isinstance(key, str) and not key.startswith("__"),
        unknown_type_filter=safe_repr,
    )


# -- Revoking


def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **options: Any) -> Answer:
    """Let the tasks not start; with ``terminate``, send the signal to those that run."""
    ids = [str(id_) for id_ in maybe_list(task_id) or []]
    engine = _engine(state)
    engine.tell(Revoked(ids))
    _show_running(state)
    answer = Panel.data["revoke"](state, ids, terminate=terminate, signal=signal, **options)
    if terminate:  # one that has just started is found a moment later
        engine.terminate(ids, platform_signals.signum(signal or TERM_SIGNAME))
    return answer


def terminate(state: Any, signal: Any, task_id: Any, **options: Any) -> Answer:
    """Revoke the tasks and send the signal to the processes of those that run."""
    return revoke(state, task_id, terminate=True, signal=signal, **options)


def revoke_by_stamped_headers(
    state: Any, headers: Any, terminate: bool = False, signal: Any = None, **options: Any
) -> Answer:
    """Let the tasks with one of these stamps not start; with ``terminate``, end those that run."""
    pairs = [header.split("=")[:2] for header in headers] if isinstance(headers, list) else headers.items()
    stamps = {name: list(maybe_list(values) or ()) for name, values in pairs}
    revoked = {name: list(maybe_list(values)) for name, values in worker_state.revoked_stamps.items()}
    for name, values in stamps.items():
        known = revoked.setdefault(name, [])
        known += [value for value in values if value not in known]
    _engine(state).tell(StampsRevoked(revoked))
    _show_running(state)
    command = Panel.data["revoke_by_stamped_headers"]
    return command(state, dict(stamps), terminate=terminate, signal=signal, **options)


def hello(state: Any, from_node: str, revoked: Sequence[str] | None = None, **options: Any) -> Answer:
    """Exchange revoked ids with a worker that has started."""
    if revoked and from_node != state.hostname:
        _engine(state).tell(Revoked([str(id_) for id_ in revoked]))
    return Panel.data["hello"](state, from_node, revoked=revoked, **options)


# -- Limits and events


def time_limit(
    state: Any, task_name: str, hard: float | None = None, soft: float | None = None, **_: Any
) -> Answer:
    """Set a task's time limits, for those that start from now on."""
    for limit in (hard, soft):
        if limit is not None and not is_limit(limit):
            return {"error": f"a time limit is a number of seconds, not {limit!r}"}
    answer = Panel.data["time_limit"](state, task_name, hard=hard, soft=soft)
    if "ok" in answer:
        _engine(state).tell(TimeLimits(task_name, soft, hard))
    return answer


def rate_limit(state: Any, task_name: str, rate_limit: Any, **_: Any) -> Answer:
    """Set how many of a task may start in a time, in this worker."""
    if not (rate_limit is None or type(rate_limit) in (int, float, str)):
        return {"error": f"a rate limit is a number or a text such as '10/m', not {rate_limit!r}"}
    answer = Panel.data["rate_limit"](state, task_name, rate_limit)
    if "ok" in answer:
        _engine(state).limit_rate(RateLimit(task_name, rate_limit))
    return answer


def enable_events(state: Any) -> Answer:
    """Send events of tasks."""
    return _switch_events(state, "enable_events")


def disable_events(state: Any) -> Answer:
    """Send no more events of tasks."""
    return _switch_events(state, "disable_events")


def _switch_events(state: Any, command: str) -> Answer:
    heart = state.consumer.controller.heart
    before = heart.task_events
    answer = Panel.data[command](state)
    if heart.task_events != before:
        _engine(state).tell(TaskEvents(heart.task_events))
    return answer


def _engine(state: Any) -> Any:
    return state.consumer.controller.engine


def _show_running(state: Any) -> None:
    engine = _engine(state)
    show_running(state.app, engine.notes(), engine.terminate_with)
