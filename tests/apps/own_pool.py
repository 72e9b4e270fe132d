"""A pool and a consumer of somebody else's, which the engine knows nothing of."""

from __future__ import annotations

from celery.concurrency.solo import TaskPool
from celery.worker.consumer import Consumer

__all__ = ["OwnConsumer", "OwnPool"]


class OwnPool(TaskPool):
    """Runs tasks as Celery's solo pool does."""


class OwnConsumer(Consumer):
    """Consumes as Celery's own does."""
