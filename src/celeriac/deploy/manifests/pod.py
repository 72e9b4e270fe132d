"""The pod of a worker pool, and what every pod here has in common: as few rights as it can do with."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.ending import ASK, Ending
from celeriac.deploy.manifests.names import (
    CONFIG_MAP,
    EVERYWHERE,
    Manifest,
    image_of,
    labels_of,
    metrics_port_of,
    selector_of,
)
from celeriac.deploy.manifests.pools import Pool
from celeriac.deploy.manifests.quantities import mebibytes
from celeriac.deploy.manifests.stock import stock_reason

__all__ = ["METRICS", "config_data", "container", "pod_template", "worker_template"]

#: The name of the port on which probes and Prometheus are answered.
METRICS = "metrics"
#: A folder of the pod's own, empty when it starts.
TMP = "/tmp"  # noqa: S108
#: How a container's keys stand in the text: what it is, what it runs, what it needs, what is asked of it.
_ORDER = (
    *("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports", "resources"),
    *("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "securityContext", "volumeMounts"),
)
#: Seconds between two probes; a worker is taken for dead after six that failed.
_PERIOD = 10
_FAILURES = 6


def config_data(app: Application) -> dict[str, str]:
    """Return the environment variables of all containers that are no secret."""
    return {"APP": app.name, "PYTHONUNBUFFERED": "1", **app.cluster.k8s_config}


def container(app: Application, name: str, command: list[str], resources: Manifest) -> Manifest:
    """Return a container of the application's image; ``command`` is executed as it is, as process 1."""
    return {
        "name": name,
        "image": image_of(app),
        "imagePullPolicy": "Always",
        "command": command,
        "envFrom": [
            {"configMapRef": {"name": CONFIG_MAP}},
            {"secretRef": {"name": app.cluster.k8s_secret}},
        ],
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": TMP}],
    }


def pod_template(
    app: Application, component: str, containers: list[Manifest], spec: Mapping[str, Any]
) -> Manifest:
    """Return a pod template; ``spec`` adds to what all pods have, or replaces it."""
    return {
        "metadata": {
            "labels": labels_of(app, component),
            # A changed ConfigMap alone restarts no pod.
            "annotations": {"checksum/config": _checksum(config_data(app))},
        },
        "spec": {
            "serviceAccountName": "celery",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": app.cluster.k8s_user,
                "runAsGroup": app.cluster.k8s_user,
                "fsGroup": app.cluster.k8s_user,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{key: one[key] for key in _ORDER if key in one} for one in containers],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
            **spec,
        },
    }


def worker_template(name: str, pool: Pool, app: Application, ending: Ending) -> Manifest:
    """Return the pod of a worker pool."""
    worker = container(app, "worker", ["celery", "worker", "-l", "info"], _resources(pool))
    worker["args"] = _arguments(pool, app, ending)
    worker["env"] = [{"name": "REMAP_SIGTERM", "value": "SIGQUIT"}]
    if stock_reason(pool, app) is None:
        worker["ports"] = [{"name": METRICS, "containerPort": metrics_port_of(app), "protocol": "TCP"}]
        worker |= _probes(pool)
    worker["lifecycle"] = {
        "preStop": {"exec": {"command": ["celeriac", "k8s", "drain", "--timeout", str(ending.drain + ASK)]}}
    }
    worker["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    component = f"worker-{name}"
    spec: Manifest = {
        "terminationGracePeriodSeconds": ending.grace,
        "topologySpreadConstraints": _spread(app, component, pool),
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": pool.scratch}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _shared_memory(pool)}},
        ],
    }
    if pool.priority_class:
        spec["priorityClassName"] = pool.priority_class
    if selector := _node_selector(pool):
        spec["nodeSelector"] = selector
    if tolerations := _tolerations(pool):
        spec["tolerations"] = tolerations
    return pod_template(app, component, [worker], spec)


def _arguments(pool: Pool, app: Application, ending: Ending) -> list[str]:
    options = []
    if pool.queues:
        options += ["-Q", ",".join(pool.queues)]
    if pool.pool:
        options += ["-P", pool.pool]
    options += ["-c", str(1 if pool.pool == "solo" else pool.slots)]
    settings = []
    if math.ceil(app.soft_shutdown) != ending.soft:
        settings.append(f"worker_soft_shutdown_timeout={ending.soft}")
    if stock_reason(pool, app) is None:
        settings += _own_port(app)
    return [*options, "--", *settings] if settings else options


def _own_port(app: Application) -> list[str]:
    settings = []
    if app.metrics_port is None:
        settings.append(f"metrics_port=(int){metrics_port_of(app)}")
    if app.metrics_host is None:
        settings.append(f"metrics_host=(string){EVERYWHERE}")
    return settings


def _resources(pool: Pool) -> Manifest:
    amounts: Manifest = {"cpu": str(pool.cpu), "memory": pool.memory}
    if pool.gpu:
        amounts[pool.gpu_resource] = str(pool.gpu)
    # Requested as much as is allowed: what else runs on the node takes nothing away.
    return {"requests": dict(amounts), "limits": amounts}


def _probes(pool: Pool) -> Manifest:
    """Readiness says that it consumes, not that it is idle: pods that are not ready are deleted first."""
    live = {"httpGet": {"path": "/live", "port": METRICS}, "periodSeconds": _PERIOD, "timeoutSeconds": 5}
    ready = {"httpGet": {"path": "/ready", "port": METRICS}, "periodSeconds": _PERIOD, "timeoutSeconds": 5}
    return {
        "startupProbe": {**ready, "periodSeconds": 2, "failureThreshold": math.ceil(pool.start / 2)},
        "livenessProbe": {**live, "failureThreshold": _FAILURES},
        "readinessProbe": {**ready, "failureThreshold": 3},
    }


def _spread(app: Application, component: str, pool: Pool) -> list[Manifest]:
    rule: Manifest = {
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector_of(app, component)},
    }
    if pool.workload == "deployment":
        rule["matchLabelKeys"] = ["pod-template-hash"]
    return [
        {"topologyKey": "topology.kubernetes.io/zone", **rule},
        {"topologyKey": "kubernetes.io/hostname", **rule},
    ]


def _node_selector(pool: Pool) -> dict[str, str]:
    if pool.node_selector or not pool.gpu:
        return dict(pool.node_selector)
    return {f"{pool.gpu_resource}.present": "true"}


def _tolerations(pool: Pool) -> list[Manifest]:
    given = [msgspec.to_builtins(toleration) for toleration in pool.tolerations]
    if pool.gpu and not given:
        given.append({"key": pool.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    return given


def _shared_memory(pool: Pool) -> str:
    """What shards write their journals into counts as memory of the pod."""
    return f"{max(16, int(mebibytes(pool.memory) / 8))}Mi"


def _checksum(data: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
