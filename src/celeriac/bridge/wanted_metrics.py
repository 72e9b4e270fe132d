"""A worker's metrics, imported only if it is to have some: their server takes half a megabyte."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from celeriac.bridge.configuration import read_settings

if TYPE_CHECKING:
    from celeriac.bridge.metrics import WorkerMetrics

__all__ = ["wanted_metrics"]


def wanted_metrics(worker: Any) -> WorkerMetrics | None:
    """Return the metrics that the worker's settings ask for, with the port taken already; None for none.

    Raises as ``WorkerMetrics`` does.
    """
    settings = read_settings(worker.app)
    if settings.metrics_port is None and not settings.metrics_share:
        return None
    metrics: WorkerMetrics = resolve_name("celeriac.bridge.metrics:WorkerMetrics")(worker, settings)
    return metrics
