"""Pools that run on Celery's stock worker, which renews no leases and has no port to be asked on."""

from __future__ import annotations

from collections.abc import Iterable

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.pools import Pool

__all__ = ["all_stock", "stock_reason"]

_GREEN = ("gevent", "eventlet")


def stock_reason(pool: Pool, app: Application) -> str | None:
    """Return why the pool's workers are Celery's own, or None if the engine runs there."""
    return app.stock_reason or (f"the pool {pool.pool!r} is one of its own" if pool.pool in _GREEN else None)


def all_stock(pools: Iterable[Pool], app: Application) -> bool:
    """Whether no worker has a port of its own."""
    return all(stock_reason(pool, app) for pool in pools)
