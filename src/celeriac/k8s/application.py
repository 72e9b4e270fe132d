"""What a Celery app tells of itself that its manifests depend on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from celeriac.bridge import deployment
from celeriac.bridge.configuration import named_settings, read_settings, single_url
from celeriac.bridge.fallback import reason_for_stock_app
from celeriac.core.errors import ConfigurationError
from celeriac.deploy.manifests.application import PREFIX, Application, ClusterSettings, QueueWork
from celeriac.deploy.manifests.pools import Pool, read_pools

__all__ = ["describe", "pools_of"]


def pools_of(app: Any) -> Mapping[str, Pool]:
    """Return the pools that the app declares; raise ConfigurationError for a misspelt key or a bad value."""
    return read_pools(named_settings(app, lambda name: name == "pools").get("pools"))


def describe(app: Any, name: str, image: str | None = None) -> Application:
    """Return what is known of the app; raise ConfigurationError for a bad setting.

    ``name`` is what ``-A`` names; ``image`` stands in for ``k8s_image``.
    """
    deployment.load_tasks(app)
    cluster = ClusterSettings.from_mapping(named_settings(app, lambda key: key.startswith(PREFIX)))
    if image:
        cluster = msgspec.structs.replace(cluster, k8s_image=image)
    url = app.conf.broker_read_url
    own = single_url(url)
    return Application(
        name=name,
        cluster=cluster,
        work=_work(app),
        server_ports=tuple(deployment.server_ports(app)) or (6379,),
        broker_is_local=own is not None and not urlsplit(own.partition(";")[0]).hostname,
        stock_reason=reason_for_stock_app(app),
        redelivers_after=deployment.redelivers_after(app),
        lease_seconds=read_settings(app).engine_lease_seconds,
        soft_shutdown=float(app.conf.get("worker_soft_shutdown_timeout") or 0),
        metrics_port=_metrics_port(app),
        metrics_host=named_settings(app, lambda key: key == "metrics_host").get("metrics_host"),
        has_schedule=deployment.has_schedule(app),
        beat_keeps_file=deployment.beat_keeps_file(app),
    )


def _metrics_port(app: Any) -> int | None:
    port = named_settings(app, lambda name: name == "metrics_port").get("metrics_port")
    try:
        return int(port) if port else None
    except (TypeError, ValueError):
        raise ConfigurationError(f"metrics_port must be a TCP port, not {port!r}") from None


def _work(app: Any) -> dict[str, QueueWork]:
    """Say of each queue what its tasks take; queues that no task is routed to have nothing to say."""
    tasks: defaultdict[str, list[Any]] = defaultdict(list)
    for task in deployment.own_tasks(app):
        tasks[deployment.queue_of(app, task)].append(task)
    return {
        queue: _queue_work(app, tasks[queue])
        for queue in {**dict.fromkeys(deployment.queue_names(app)), **tasks}
    }


def _queue_work(app: Any, tasks: list[Any]) -> QueueWork:
    limits = {task.name: task.time_limit or app.conf.task_time_limit for task in tasks}
    return QueueWork(
        longest=max((float(limit) for limit in limits.values() if limit), default=0.0),
        unlimited=tuple(name for name, limit in limits.items() if not limit),
        at_most_once=tuple(task.name for task in tasks if not task.acks_late),
    )
