"""A worker's database connections: kept from task to task while all goes well, closed after all else.

Celery's own fix-up closes them before and after every task, and opening one takes longer than most tasks.
"""

from __future__ import annotations

import time
from typing import Any, Final

from asgiref.sync import SyncToAsync
from celery import signals
from celery.fixups import django as stock
from celery.states import FAILURE, RETRY
from django.apps import apps
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections
from django.db.backends.signals import connection_created

from celeriac.bridge.coroutine import is_async

__all__ = ["WorkerConnections"]

_NAME: Final = "celeriac.django"
#: Seconds for which a connection is kept where CONN_MAX_AGE is 0, which is Django's default, for requests.
KEPT_SECONDS: Final = 600.0
#: What a task ends in whose connections nobody can vouch for; None: it was given up.
_ABNORMAL: Final = (FAILURE, RETRY, None)
#: libpq's word for a connection on which nothing is under way.
_IDLE: Final = 0
#: How much earlier than it was asked for a soft time limit may have come, as seen from inside of the task.
_EARLY: Final = 0.1
#: Set on a task's request: when it began.
_BEGAN: Final = "celeriac_began"


class WorkerConnections(stock.DjangoWorkerFixup):
    """Attached to one app; does what Celery's does where its user has asked for that.

    That is so without ``celeriac.django`` in INSTALLED_APPS, and with CELERY_DB_REUSE_MAX.
    """

    def install(self) -> Any:
        if self.db_reuse_max is not None or not apps.is_installed(_NAME):
            return super().install()
        self._async: dict[str, bool] = {}
        signals.beat_embedded_init.connect(self.close_database)
        signals.worker_process_init.connect(self.on_worker_process_init)
        if any(type(cache).close is not BaseCache.close for cache in caches.all()):
            signals.task_postrun.connect(self._close_caches)
        # Tasks that open no connection are not to pay for it.
        connection_created.connect(self._opened)
        self.close_database()
        self.close_cache()
        return self

    def _begin(self, sender: Any, **_: Any) -> None:
        setattr(sender.request, _BEGAN, time.monotonic())

    def _end(self, sender: Any, state: str | None = None, **_: Any) -> None:
        if getattr(sender.request, "is_eager", False):
            return
        trusted = state not in _ABNORMAL and not self._may_be_interrupted(sender)
        for connection in connections.all(initialized_only=True):
            self._settle(connection, trusted=trusted)
        if self._is_async(sender):
            # Its queries ran in a thread that all coroutines share, where nothing can interrupt them.
            SyncToAsync.single_thread_executor.submit(_settle_shared)

    def _opened(self, connection: Any, **_: Any) -> None:
        options = connection.settings_dict
        if options["CONN_MAX_AGE"] == 0 and not (options.get("OPTIONS") or {}).get("pool"):
            connection.close_at = time.monotonic() + KEPT_SECONDS
            connection.health_check_enabled = True
        signals.task_prerun.connect(self._begin)
        signals.task_postrun.connect(self._end)

    def _may_be_interrupted(self, task: Any) -> bool:
        """Whether a soft time limit may have been raised, which the task's own code may have caught."""
        _, soft = task.request.timelimit or (None, None)
        soft = soft or task.soft_time_limit or getattr(self.worker, "soft_time_limit", None)
        if not soft:
            return False
        began = getattr(task.request, _BEGAN, None)  # unknown to the task that opened the first connection
        return began is None or time.monotonic() - began > soft - _EARLY

    def _settle(self, connection: Any, *, trusted: bool) -> None:
        try:
            if trusted and not connection.in_atomic_block and _is_idle(connection):
                connection.close_if_unusable_or_obsolete()
            else:
                connection.close()
        except self.DatabaseError as error:
            stock.logger.debug("closing the connection to %s: %s", connection.alias, error)
        if connection.in_atomic_block:  # it stays closed for ever
            del connections[connection.alias]

    def _close_caches(self, sender: Any, **_: Any) -> None:
        if not getattr(sender.request, "is_eager", False):
            self.close_cache()

    def _is_async(self, task: Any) -> bool:
        found = self._async.get(task.name)
        if found is None:
            found = self._async[task.name] = is_async(task)
        return found


def _settle_shared() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _is_idle(connection: Any) -> bool:
    """Whether no query and no transaction is under way, as far as the driver knows without asking."""
    status = getattr(getattr(connection.connection, "info", None), "transaction_status", _IDLE)
    return bool(status == _IDLE)
