"""What runs beside the workers, one pod of each: beat, the exporter, the scaler."""

from __future__ import annotations

from typing import NamedTuple

from celeriac.deploy.manifests.accounts import scaler_account
from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.names import (
    BEAT,
    EVERYWHERE,
    EXPORTER,
    SCALER,
    SCALER_GRPC_PORT,
    SCALER_HTTP,
    SCALER_HTTP_PORT,
    Manifest,
    explained,
    head,
    metrics_port_of,
    selector_of,
)
from celeriac.deploy.manifests.pod import METRICS, container, pod_template

__all__ = ["beat", "exporter", "scaler", "service_monitor"]

_SCHEDULE, _LEARNT = "/var/lib/celery", "/var/lib/celery-scaler"
_GRACE: Manifest = {"terminationGracePeriodSeconds": 30}
_SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}


class _Folder(NamedTuple):
    """What outlives a pod."""

    name: str
    path: str
    storage: str


def beat(app: Application) -> list[Manifest]:
    """Return beat as a StatefulSet of one: only that never runs a second pod while the first may live.

    A schedule that is kept in a file is on a volume, so that nothing is forgotten with the pod.
    """
    runner = container(app, "beat", ["celery", "beat", "-l", "info", "--pidfile="], _SMALL)
    folder = None
    if app.beat_keeps_file:
        runner["args"] = ["-s", f"{_SCHEDULE}/schedule"]
        folder = _Folder("schedule", _SCHEDULE, app.cluster.k8s_beat_storage)
    if app.stock_reason is None and app.metrics_port is None:
        # The scaler then knows when entries are due that no calendar tells.
        runner["args"] = [*runner.get("args", ()), "--", "metrics_share=(bool)true"]
    stateful_set = _only_one(app, BEAT, "beat", runner, {}, folder)
    stateful_set["metadata"]["annotations"] = explained(
        app,
        ("CKV_K8S_8", "beat serves no port: one that has ended is started again"),
        ("CKV_K8S_9", "nothing is sent to beat, so nothing asks whether it is ready"),
    )
    service = head(app, "v1", "Service", BEAT, "beat")
    service["spec"] = {"clusterIP": "None", "selector": selector_of(app, "beat")}
    return [stateful_set, service]


def exporter(app: Application, *, queues_only: bool) -> list[Manifest]:
    """Return the one process that counts the broker's queues for Prometheus.

    ``queues_only`` leaves tasks and workers to the workers' own ports; both together would count twice.
    """
    port = metrics_port_of(app)
    runner = container(app, "exporter", ["celeriac", "metrics", "--port", str(port)], _SMALL)
    runner["args"] = ["--host", EVERYWHERE, *(["--queues-only"] if queues_only else [])]
    runner["ports"] = [{"name": METRICS, "containerPort": port, "protocol": "TCP"}]
    runner |= _http_probes("/live", "/ready", METRICS)
    ports = [{"name": METRICS, "port": port, "targetPort": METRICS, "protocol": "TCP"}]
    return [_deployment(app, EXPORTER, "exporter", runner), _service(app, EXPORTER, "exporter", ports)]


def scaler(app: Application) -> list[Manifest]:
    """Return what computes the number of workers, answers KEDA, and marks idle pods to be deleted first.

    A StatefulSet of one, as beat is: two that mark pods would undo each other's marks. What it has learnt
    of the load's days is on a volume.
    """
    runner = container(app, "scaler", ["celeriac", "scale", "serve"], _SMALL)
    runner["args"] = [
        *("--host", EVERYWHERE, "--grpc-port", str(SCALER_GRPC_PORT), "--port", str(SCALER_HTTP_PORT)),
        *("--state", f"{_LEARNT}/state"),
    ]
    runner["ports"] = [
        {"name": "grpc", "containerPort": SCALER_GRPC_PORT, "protocol": "TCP"},
        {"name": SCALER_HTTP, "containerPort": SCALER_HTTP_PORT, "protocol": "TCP"},
    ]
    runner["env"] = [
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    ]
    runner |= _http_probes("/live", "/ready", SCALER_HTTP)
    ports = [
        {"name": "grpc", "port": SCALER_GRPC_PORT, "targetPort": "grpc", "protocol": "TCP"},
        {"name": SCALER_HTTP, "port": SCALER_HTTP_PORT, "targetPort": SCALER_HTTP, "protocol": "TCP"},
    ]
    rights = {"serviceAccountName": SCALER, "automountServiceAccountToken": True}
    folder = _Folder("learnt", _LEARNT, app.cluster.k8s_scaler_storage)
    stateful_set = _only_one(app, SCALER, "scaler", runner, rights, folder)
    stateful_set["metadata"]["annotations"] = explained(
        app, ("CKV_K8S_38", "it writes the deletion cost of idle pods through the Kubernetes API")
    )
    return [*scaler_account(app), stateful_set, _service(app, SCALER, "scaler", ports)]


def service_monitor(app: Application, *, scaler: bool) -> list[Manifest]:
    """Return what tells the Prometheus operator where workers, exporter and scaler are scraped."""
    workers = head(app, "monitoring.coreos.com/v1", "PodMonitor", "celery", "monitor")
    instance = selector_of(app, "")["app.kubernetes.io/instance"]
    endpoint = {"port": METRICS, "path": "/metrics", "interval": "15s"}
    workers["spec"] = {
        "selector": {
            "matchLabels": {"app.kubernetes.io/name": "celery", "app.kubernetes.io/instance": instance},
            "matchExpressions": [
                {"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["exporter"]}
            ],
        },
        # The scaler's numbers have a port of their own name.
        "podMetricsEndpoints": [endpoint, *([{**endpoint, "port": SCALER_HTTP}] if scaler else [])],
    }
    monitor = head(app, "monitoring.coreos.com/v1", "ServiceMonitor", EXPORTER, "monitor")
    monitor["spec"] = {
        "selector": {"matchLabels": selector_of(app, "exporter")},
        "endpoints": [endpoint],
    }
    return [monitor, workers]


def _deployment(app: Application, name: str, component: str, runner: Manifest) -> Manifest:
    deployment = head(app, "apps/v1", "Deployment", name, component)
    deployment["metadata"]["annotations"] = explained(app)
    deployment["spec"] = {
        "replicas": 1,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector_of(app, component)},
        "strategy": {"type": "Recreate"},
        "template": pod_template(app, component, [runner], _GRACE),
    }
    return deployment


def _only_one(
    app: Application, name: str, component: str, runner: Manifest, spec: Manifest, folder: _Folder | None
) -> Manifest:
    """Return a StatefulSet with one pod, and the folder on a volume that outlives it."""
    volumes = []
    if folder is not None:
        runner["volumeMounts"].append({"name": folder.name, "mountPath": folder.path})
        volumes = [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": folder.name},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": folder.storage}},
                },
            }
        ]
    stateful_set = head(app, "apps/v1", "StatefulSet", name, component)
    stateful_set["spec"] = {
        "replicas": 1,
        "revisionHistoryLimit": 3,
        "serviceName": name,
        "selector": {"matchLabels": selector_of(app, component)},
        "template": pod_template(app, component, [runner], {**_GRACE, **spec}),
        **({"volumeClaimTemplates": volumes} if volumes else {}),
    }
    return stateful_set


def _service(app: Application, name: str, component: str, ports: list[Manifest]) -> Manifest:
    service = head(app, "v1", "Service", name, component)
    service["spec"] = {"selector": selector_of(app, component), "ports": ports}
    return service


def _http_probes(live: str, ready: str, port: str) -> Manifest:
    asked: Manifest = {"periodSeconds": 15, "timeoutSeconds": 10}
    return {
        "livenessProbe": {"httpGet": {"path": live, "port": port}, **asked, "failureThreshold": 8},
        "readinessProbe": {"httpGet": {"path": ready, "port": port}, **asked},
    }
