"""What the engine does not run; there Celery's stock worker takes over, with one warning."""

from __future__ import annotations

from typing import Any

from celery import Task
from celery.utils.imports import symbol_by_name

from celeriac.bridge.configuration import single_url
from celeriac.bridge.pools import POOLS, pool_name

__all__ = ["reason_for_stock_app", "reason_for_stock_worker"]


def reason_for_stock_worker(worker: Any) -> str | None:
    """Return why this worker must be Celery's own, or None if the engine runs it."""
    if reason := _unsupported_broker(worker.app):
        return reason
    pool = pool_name(worker.pool_cls)
    if pool not in POOLS.values():
        return f"the pool {pool.rpartition('.')[2]!r} is not one of {', '.join(POOLS.values())}"
    return _unsupported_option(worker) or _unsupported_steps(worker.app) or _unsupported_task(worker.app)


def reason_for_stock_app(app: Any) -> str | None:
    """Return why any worker of the app must be Celery's own, whatever its options; None if none must."""
    return _unsupported_broker(app) or _unsupported_steps(app) or _unsupported_task(app)


def _unsupported_broker(app: Any) -> str | None:
    url = single_url(app.conf.broker_read_url)
    if url is None or not app.owns_transport(url):
        return "its broker is one that Celeriac has no engine for"
    return None


def _unsupported_option(worker: Any) -> str | None:
    given = worker.options
    options = {
        "--autoscale with the solo pool": given.get("autoscale") and worker.pool_name == "solo",
        "worker_autoscaler": worker.autoscaler_cls != "celery.worker.autoscale:Autoscaler"
        and worker.autoscaler_cls,
        # Shards are forked, so that what the supervisor has loaded is shared between them.
        "--pool-start-method spawn": getattr(worker, "pool_start_method", "fork") != "fork",
        "worker_agent": worker.app.conf.worker_agent,
        "worker_consumer": worker.consumer_cls != "celery.worker.consumer:Consumer" and worker.consumer_cls,
    }
    for option, value in options.items():
        if value:
            return f"{option} is set"
    return None


def _unsupported_steps(app: Any) -> str | None:
    steps = app.steps["consumer"]
    return f"the app adds consumer steps ({len(steps)})" if steps else None


def _unsupported_task(app: Any) -> str | None:
    """A task that comes with parts of Celery's worker of its own, as ``celery_batches.Batches`` does."""
    for task in app.tasks.values():
        for part in ("Strategy", "Request"):
            if symbol_by_name(getattr(task, part)) != symbol_by_name(getattr(Task, part)):
                return f"the task {task.name!r} has a {part} of its own"
    return None
