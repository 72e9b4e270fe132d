"""Which tasks have succeeded, known in the suite's process although they ran in another.

Celery's worker in a thread knows it from a set in ``celery.worker.state``, into which some tests look.
"""

from __future__ import annotations

import os
from typing import Any

import redis
from celery import signals
from celery.utils.collections import LimitedSet

__all__ = ["Succeeded"]

_KEY = "suite:succeeded"
#: Redis database of its own, as tests count the keys of theirs.
_DATABASE = 15


class Succeeded(LimitedSet):  # type: ignore[misc]
    """Beside what Celery's worker adds: the ids of tasks that succeeded in any process that notes them."""

    def __init__(self) -> None:
        super().__init__()
        self._redis = redis.Redis(os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"]), _DATABASE)

    def note_all(self) -> None:
        """Note every task that succeeds in this process, or in one forked from it."""
        signals.task_success.connect(self._note, weak=False)

    def _note(self, sender: Any = None, **_: Any) -> None:
        self._redis.sadd(_KEY, sender.request.id)

    def __contains__(self, task_id: object) -> bool:
        return super().__contains__(task_id) or bool(self._redis.sismember(_KEY, str(task_id)))
