"""A pool of somebody else's, which the engine knows nothing of."""

from __future__ import annotations

from celery.concurrency.solo import TaskPool

__all__ = ["OwnPool"]


class OwnPool(TaskPool):
    """Runs tasks as Celery's solo pool does."""
