"""A thread that renews the places of running tasks, so that they keep them however long they run."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Sequence

import msgspec

from celeriac.core.errors import BrokerError
from celeriac.limits.store import LimitStore

__all__ = ["PlaceKeeper"]

logger = logging.getLogger("celeriac.limits")


class _Kept(msgspec.Struct, frozen=True):
    keys: Sequence[str]
    #: Monotonic seconds from which it is not renewed any more.
    until: float


class PlaceKeeper:
    """Renews every third of the lease, in the process that runs the tasks; a forked child begins anew."""

    def __init__(self, store: LimitStore, lease: float) -> None:
        self._store = store
        self._lease = lease
        self._kept: dict[str, _Kept] = {}
        self._thread: threading.Thread | None = None
        self._begin()

    def keep(self, keys: Sequence[str], task_id: str, longest: float = math.inf) -> None:
        """Renew the task's places until ``drop``, at most for ``longest`` seconds."""
        if self._pid != os.getpid():
            self._begin()
        self._kept[task_id] = _Kept(keys, time.monotonic() + longest)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="Places", daemon=True)
                self._thread.start()
        self._some.set()

    def drop(self, task_id: str) -> None:
        """Renew the task's places no more."""
        self._kept.pop(task_id, None)
        if not self._kept:
            self._some.clear()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._kept = {}
        self._some = threading.Event()
        self._lock = threading.Lock()
        self._thread = None

    def _renew_all(self) -> None:
        while True:
            self._some.wait()
            time.sleep(self._lease / 3)
            for task_id, kept in list(self._kept.items()):
                if time.monotonic() >= kept.until:
                    self.drop(task_id)
                    continue
                try:
                    self._store.renew(kept.keys, task_id, self._lease)
                    if self._kept.get(task_id) is not kept:  # it has ended while it was renewed
                        self._store.leave(kept.keys, task_id)
                except BrokerError as error:
                    logger.warning("the place of task %s could not be renewed this time: %s", task_id, error)
