"""Combinations that would lose tasks, or never work, refused with the reason; and what is only warned of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.ending import Ending, ending_of, work_of
from celeriac.deploy.manifests.kube_version import KubeVersion
from celeriac.deploy.manifests.pools import Pool
from celeriac.deploy.manifests.quantities import mebibytes
from celeriac.deploy.manifests.stock import stock_reason

__all__ = ["refuse", "warnings"]

#: Seconds after which the cluster autoscaler kills whatever a pod asks for (--max-graceful-termination-sec).
AUTOSCALER_PATIENCE = 600
#: MiB that one process of a worker takes before it has run anything.
_LEAST_MEMORY = 64


def refuse(app: Application, pools: Mapping[str, Pool], version: KubeVersion) -> None:
    """Return if these manifests can work; raise ConfigurationError with the first reason why they cannot."""
    for name, pool in pools.items():
        for reason in _reasons(name, pool, app, version):
            raise ConfigurationError(f"pool {name!r}: {reason}")


def _reasons(name: str, pool: Pool, app: Application, version: KubeVersion) -> Iterator[str]:
    yield from _about_scaling(pool, version)
    if pool.scalers and app.stock_reason:
        yield (
            f"nothing here can count its queues, as {app.stock_reason}: take autoscale='none', or a scaler of"
            " the broker's own"
        )
    yield from _about_queues(pool, app)
    yield from _about_the_pod(pool)
    yield from _about_the_broker(pool, app, ending_of(name, pool, app))


def _about_scaling(pool: Pool, version: KubeVersion) -> Iterator[str]:
    scalers = pool.scalers
    if len(scalers) > 1:
        mixed = {kind.partition("-")[0] for kind in scalers} == {"hpa", "keda"}
        why = "KEDA makes an HPA of its own, and both" if mixed else "both"
        yield f"{' and '.join(scalers)} on one workload: {why} would pull at one number; name one"
    if not scalers:
        return
    if pool.workload == "statefulset" and pool.pod_management == "ordered_ready":
        yield (
            "a StatefulSet that starts and stops its pods one by one (ordered_ready) cannot be scaled: each"
            " step waits for a pod to drain; leave out pod_management, or take autoscale='none'"
        )
    if pool.min == 0 and scalers[0].startswith("hpa") and not version.has_hpa_to_zero:
        yield (
            f"an HPA cannot scale to zero on Kubernetes {version}: set min to 1, take autoscale='keda-push',"
            " or render with --kube-version 1.37"
        )


def _about_queues(pool: Pool, app: Application) -> Iterator[str]:
    for queue in pool.queues:
        if app.work and queue not in app.work:
            near = did_you_mean(queue, app.work)
            yield f"no queue is called {queue!r}{near}: name it in task_queues, or route a task to it"


def _about_the_pod(pool: Pool) -> Iterator[str]:
    processes = 1 + (pool.slots if pool.pool in (None, "prefork") else 1)
    least = processes * _LEAST_MEMORY
    if mebibytes(pool.memory) < least:
        yield f"{processes} processes need more than {pool.memory} of memory: at least {least}Mi"
    if pool.pool == "solo" and pool.slots > 1 and pool.concurrency is not None:
        yield f"the solo pool runs one task at a time, not {pool.concurrency}: leave out concurrency"
    if pool.gpu and pool.pool in (None, "prefork") and pool.slots > pool.gpu:
        yield (
            f"{pool.slots} processes would share {pool.gpu} GPU(s), and each loads its own model: set"
            f" concurrency to {pool.gpu}, or pool to 'threads'"
        )
    if not pool.gpu and any(toleration.key == pool.gpu_resource for toleration in pool.tolerations):
        yield f"it tolerates nodes with {pool.gpu_resource}, but asks for none: set gpu"


def _about_the_broker(pool: Pool, app: Application, ending: Ending) -> Iterator[str]:
    """Leases of the engine are renewed for as long as a task runs; what a stock worker holds is not."""
    stock = stock_reason(pool, app)
    limit = app.redelivers_after
    if stock is not None and limit is not None and limit <= ending.grace:
        yield (
            f"this runs on Celery's stock worker ({stock}), and its broker delivers a message again after"
            f" {limit:g} s, while a pod may hold it for {ending.grace} s: set visibility_timeout in"
            f" broker_transport_options to more than {ending.grace}"
        )


def warnings(app: Application, pools: Mapping[str, Pool]) -> Iterator[str]:
    """Yield what is likely to surprise, one line each."""
    if app.cluster.k8s_image is None:
        yield "k8s_image is not set: the manifests name an image with the tag latest, which says nothing"
    if app.broker_is_local:
        yield (
            "the broker is a file here, which pods do not share: let broker_url come from the environment,"
            f" and the Secret {app.cluster.k8s_secret!r} name a server"
        )
    for name, pool in pools.items():
        for text in _pool_warnings(
            pool, app, ending_of(name, pool, app), work_of(name, pool, app).at_most_once
        ):
            yield f"pool {name!r}: {text}"
    yield from _queue_warnings(app, pools)


def _pool_warnings(pool: Pool, app: Application, ending: Ending, early: tuple[str, ...]) -> Iterator[str]:
    if (stock := stock_reason(pool, app)) is not None:
        yield (
            f"its workers are Celery's own, as {stock}: they have no port, so nothing asks whether they live,"
            " and idle pods cannot be told from busy ones"
        )
    if "hpa-queue-length" in pool.scalers:
        yield (
            "an HPA on the queue length oscillates: the queue is empty while every worker is busy, so it"
            " takes busy pods away and adds them again; 'hpa-desired' and 'keda-push' count what runs, too"
        )
    if ending.unlimited:
        shown = ", ".join(ending.unlimited[:3]) + (", ..." if len(ending.unlimited) > 3 else "")
        yield (
            f"nothing limits {shown}: a pod waits {ending.drain} s for them when it ends; set longest, or a"
            " time_limit for the tasks"
        )
    if early and ending.unlimited:
        yield "what outlasts that becomes a dead letter; with acks_late=True it would run again"
    if ending.grace > AUTOSCALER_PATIENCE:
        yield (
            f"its grace of {ending.grace} s is more than the {AUTOSCALER_PATIENCE} s that the cluster"
            " autoscaler waits: its pods are marked not to be evicted"
        )
    if pool.workload == "statefulset" and pool.scalers:
        yield "a StatefulSet gives up its highest pod first, idle or not; a Deployment an idle one"
    if app.lease_seconds > ending.grace:
        yield (
            f"engine_lease_seconds ({app.lease_seconds:g}) is more than its grace ({ending.grace} s): what a"
            " killed pod held comes back only after its successor has started"
        )


def _queue_warnings(app: Application, pools: Mapping[str, Pool]) -> Iterator[str]:
    if any(not pool.queues for pool in pools.values()):
        if len(pools) > 1:
            yield "a pool without queues consumes all of them, those of the other pools too"
        return
    taken = Counter(queue for pool in pools.values() for queue in pool.queues)
    for queue in sorted(set(app.work) - set(taken)):
        yield f"no pool consumes the queue {queue!r}"
