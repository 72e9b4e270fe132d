"""What a deployment of the app has to know: where tasks go and how long they take, servers, schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from celery.beat import PersistentScheduler
from celery.utils.imports import symbol_by_name
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES, get_transport_cls

from celeriac.brokers.connect import scheme_of

__all__ = [
    "beat_keeps_file",
    "has_schedule",
    "load_tasks",
    "own_tasks",
    "queue_names",
    "queue_of",
    "redelivers_after",
    "server_ports",
]

#: Seconds after which these servers, as they are installed, deliver an unacknowledged message again.
_SERVER_LIMITS = {"amqp": 1800.0, "amqps": 1800.0, "pyamqp": 1800.0, "sqs": 1800.0}
#: TCP ports that are meant where a URL names none.
_DEFAULT_PORTS = {
    "redis": 6379,
    "rediss": 6379,
    "sentinel": 26379,
    "amqp": 5672,
    "amqps": 5671,
    "pyamqp": 5672,
    "postgresql": 5432,
    "mysql": 3306,
    "mongodb": 27017,
    "cache": 11211,
}


def load_tasks(app: Any) -> None:
    """Let the app know all its tasks, as a worker does before it starts."""
    app.loader.import_default_modules()
    app.finalize()


def own_tasks(app: Any) -> Iterator[Any]:
    """Yield the app's tasks, without those that Celery brings with it."""
    for name in sorted(app.tasks):
        if not name.startswith("celery."):
            yield app.tasks[name]


def queue_names(app: Any) -> list[str]:
    """Return the queues that a worker without ``-Q`` consumes."""
    return [str(name) for name in app.amqp.queues.consume_from]


def queue_of(app: Any, task: Any) -> str:
    """Return the queue that a plain call of the task goes to."""
    given = {name: getattr(task, name, None) for name in ("queue", "exchange", "routing_key")}
    options = {name: value for name, value in given.items() if value is not None}
    try:
        route = app.amqp.router.route(options, task.name, (), {}, task_type=task)
    # A router of the app's own may ask for arguments: the task is then counted where most tasks go.
    except Exception:
        route = {}
    queue = route.get("queue") or app.conf.task_default_queue
    return str(getattr(queue, "name", queue))


def queue_of_entry(app: Any, name: str, options: Mapping[str, Any] | None) -> str:
    """Return the queue that beat sends a task of this name to, with these options of the entry."""
    queue = (options or {}).get("queue")
    if queue is not None:
        return str(getattr(queue, "name", queue))
    return queue_of(app, app.tasks.get(name) or SimpleNamespace(name=name))


def redelivers_after(app: Any) -> float | None:
    """Return the seconds after which the broker delivers what a stock worker holds again; None for never."""
    options = app.conf.broker_transport_options or {}
    if (given := options.get("visibility_timeout")) is not None:
        return float(given)
    url = app.conf.broker_read_url
    scheme = scheme_of(url) if isinstance(url, str) else ""
    if scheme in _SERVER_LIMITS:
        return _SERVER_LIMITS[scheme]
    if scheme not in TRANSPORT_ALIASES:
        return None
    try:
        channel = getattr(get_transport_cls(scheme), "Channel", None)
    except (ImportError, KombuError):
        return None
    limit = getattr(channel, "visibility_timeout", None)
    return None if limit is None else float(limit)


def server_ports(app: Any) -> list[int]:
    """Return the TCP ports of broker and result store, as far as their URLs tell."""
    urls = [app.conf.broker_read_url, app.conf.broker_write_url, app.conf.result_backend]
    ports = {port for url in urls for part in _parts(url) if (port := _port(part))}
    return sorted(ports)


def has_schedule(app: Any) -> bool:
    """Whether beat has something to send: a schedule in the configuration, or one kept elsewhere."""
    return bool(app.conf.beat_schedule) or not beat_keeps_file(app)


def beat_keeps_file(app: Any) -> bool:
    """Whether the app's scheduler remembers in a file what it has sent."""
    try:
        scheduler = symbol_by_name(app.conf.beat_scheduler)
    except (ImportError, AttributeError):
        return False
    return isinstance(scheduler, type) and issubclass(scheduler, PersistentScheduler)


def _parts(url: Any) -> list[str]:
    given = url if isinstance(url, list | tuple) else [url]
    return [part for one in given if isinstance(one, str) for part in one.split(";")]


def _port(url: str) -> int | None:
    scheme = scheme_of(url).partition("+")[0]
    try:
        parts = urlsplit(url)
        return parts.port or (_DEFAULT_PORTS.get(scheme) if parts.hostname else None)
    except ValueError:
        return None
