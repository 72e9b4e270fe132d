"""A shard's loop in the place where a child of Celery's pool has its own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

from billiard.pool import EX_OK, Worker

__all__ = ["run_as_pool_child"]


def run_as_pool_child(run: Callable[[], None]) -> NoReturn:
    """Call ``run`` within ``billiard.pool.Worker.workloop``; then raise SystemExit, as a pool's child does.

    Libraries that send what they have collected in the background, as Sentry's does, wrap that loop to send
    the rest before the process ends: it ends without ``atexit``.
    """
    _PoolChild(run).workloop()
    raise SystemExit(EX_OK)


class _PoolChild(Worker):
    """Has what the loop reads, and no pool."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self.outq: Any = SimpleNamespace(put=None)
        self.inqW_fd = self.synqW_fd = None
        self.maxtasks = self.max_memory_per_child = None
        self.wait_for_syn = None
        self.on_ready_counter = None

    def wait_for_job(self) -> NoReturn:
        """Run all there is to run, instead of receiving one job after the other."""
        self._run()
        raise SystemExit(EX_OK)
