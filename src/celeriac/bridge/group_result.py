"""The result of a group or chord, which nothing keeps but whoever asked for it."""

from __future__ import annotations

from typing import Any

from celery import result
from vine.synchronization import barrier

__all__ = ["GroupResult"]


class GroupResult(result.GroupResult):
    """Celery's, whose parts are not held by the result backend until somebody has heard of them all.

    Results are subscribed to when somebody waits, so the parts of a group that nobody waits for would be
    held for as long as their producer lives. Whoever waits holds the group, and the group its parts.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        results = options.get("results") if len(args) < 2 else args[1]
        options["ready_barrier"] = options.get("ready_barrier") or _WeakBarrier(results)
        super().__init__(*args, **options)


class _WeakBarrier(barrier):
    """Waits for results without keeping them alive."""

    def add_noincr(self, promise: Any) -> None:
        if not self.cancelled:
            if self.ready:
                raise ValueError("Cannot add promise to full barrier")
            promise.then(self, weak=True)
