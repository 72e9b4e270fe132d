"""``worker_soft_shutdown_timeout``: time for running tasks before a cold shutdown."""

from __future__ import annotations

import time
from typing import Any

from celery.utils.log import get_logger

__all__ = ["SoftShutdown"]

logger = get_logger("celeriac.worker")


class SoftShutdown:
    """Begins when a cold shutdown is asked for; asking again ends it. Safe in signal handlers."""

    def __init__(self, conf: Any) -> None:
        self._seconds = float(conf.get("worker_soft_shutdown_timeout") or 0)
        self._idle_too = bool(conf.get("worker_enable_soft_shutdown_on_idle"))
        self._deadline: float | None = None

    def begin(self) -> bool:
        """Give running tasks their time; return False if there is none to give, or it has been given."""
        if self._seconds <= 0 or self._deadline is not None:
            return False
        self._deadline = time.monotonic() + self._seconds
        logger.warning("Initiating Soft Shutdown, terminating in %s seconds", self._seconds)
        return True

    @property
    def over(self) -> bool:
        """Whether it has begun, and its time is up."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def lingers(self) -> bool:
        """Whether the worker must wait on although nothing runs (``worker_enable_soft_shutdown_on_idle``)."""
        return self._idle_too and self._deadline is not None and not self.over
