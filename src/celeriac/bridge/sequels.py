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


def _counted(app: Any, whose: str, signatures: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    found = Counter(queue for signature in signatures for queue in _queues(app, signature))
    return [(whose, queue, count) for queue, count in found.items()]


def _queues(app: Any, signature: Mapping[str, Any]) -> Iterator[str]:
    """Yield the queue of each task that is sent when this signature is."""
    kwargs = signature.get("kwargs") or {}
    kind = signature.get("subtask_type")
    if kind == "group":
        for task in kwargs.get("tasks") or ():
            yield from _queues(app, task)
    elif kind == "chord":
        header = kwargs.get("header") or ()
        for task in header if isinstance(header, list | tuple) else (header,):
            yield from _queues(app, task)
    elif kind == "chain":
        for task in (kwargs.get("tasks") or ())[:1]:
            yield from _queues(app, task)
    else:
        yield queue_of_entry(app, str(signature["task"]), signature.get("options"))
