"""What a task will send when it has ended: the next of its chain, its callbacks, the body of its chord."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celery.worker.request import Request

from celeriac.bridge.deployment import queue_of_entry

__all__ = ["sequels_of"]


def sequels_of(app: Any, request: Request) -> list[tuple[str, str, int]]:
    """Return what is to come of it: whose it is, to which queue it goes, and how many tasks.

    What a chord's parts will be followed by is the chord's own, and is to be counted once for all of them.
    """
    embed = request.body[2] or {}
    own = [*(embed.get("callbacks") or ()), *(embed.get("chain") or ())[-1:]]
    told = _counted(app, request.id, own)
    if (body := embed.get("chord")) is not None:
        told += _counted(app, str(request.group or request.id), [body])
    return told


def _counted(app: Any, whose: str, signatures: Iterable[Any]) -> list[tuple[str, str, int]]:
    """Return them by queue; a route is looked for once for all calls of a task, of which a group has many."""
    calls = Counter(call for signature in signatures for call in _calls(signature))
    found: Counter[str] = Counter()
    for (task, queue), count in calls.items():
        found[queue_of_entry(app, task, {"queue": queue})] += count
    return [(whose, queue, count) for queue, count in found.items()]


def _calls(signature: Any) -> Iterator[tuple[str, str | None]]:
    """Yield the task, and the queue if it is named, of each call that is made when this signature is."""
    if not isinstance(signature, Mapping):
        return  # whoever runs it will say what is wrong
    kwargs = signature.get("kwargs") or {}
    kind = signature.get("subtask_type")
    if kind == "group":
        parts = kwargs.get("tasks") or ()
    elif kind == "chord":
        header = kwargs.get("header") or ()
        parts = header if isinstance(header, list | tuple) else (header,)
    elif kind == "chain":
        parts = (kwargs.get("tasks") or ())[:1]
    else:
        queue = (signature.get("options") or {}).get("queue")
        yield str(signature.get("task")), None if queue is None else str(queue)
        return
    for part in parts:
        yield from _calls(part)
