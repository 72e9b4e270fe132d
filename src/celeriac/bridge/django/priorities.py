"""Priorities of Django's Tasks framework in the terms of the broker."""

from __future__ import annotations

from typing import Any

from celery.utils.imports import symbol_by_name
from kombu.transport import TRANSPORT_ALIASES

from celeriac.bridge.configuration import single_url
from celeriac.brokers.connect import scheme_of

__all__ = ["celery_priority"]

_DJANGOS_LOWEST, _DJANGOS_RANGE = -100, 200
_LAST = 9


def celery_priority(app: Any, queue: str, priority: int) -> int | None:
    """Return the message priority for one from -100 to 100, where 100 is first; None if there are none.

    On Redis and on Celeriac's brokers 0 is first and 9 last; in RabbitMQ the largest is first, up to the
    queue's ``x-max-priority``, without which a queue has no priorities.
    """
    share = (priority - _DJANGOS_LOWEST) / _DJANGOS_RANGE
    if _lowest_is_first(app.conf.broker_write_url):
        return _LAST - round(share * _LAST)
    most = _most(app, queue)
    return None if most is None else round(share * most)


def _lowest_is_first(url: Any) -> bool:
    if single_url(url) is not None:
        return True
    transport = TRANSPORT_ALIASES.get(scheme_of(url)) if isinstance(url, str) else None
    if transport is None:
        return False
    return hasattr(getattr(symbol_by_name(transport), "Channel", None), "priority_steps")


def _most(app: Any, queue: str) -> int | None:
    declared = app.amqp.queues.get(queue)
    most: int | None = app.conf.task_queue_max_priority
    if declared is None:
        return most
    return declared.max_priority or (declared.queue_arguments or {}).get("x-max-priority") or most
