"""What changes the number of a pool's pods: an HPA on one of two numbers, or KEDA asking the scaler."""

from __future__ import annotations

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.kube_version import KubeVersion
from celeriac.deploy.manifests.names import (
    AUTOSCALER,
    DESIRED_WORKERS,
    QUEUE_LENGTH,
    SCALER,
    SCALER_GRPC_PORT,
    SCALER_HTTP_PORT,
    Manifest,
    head,
    workload_name,
)
from celeriac.deploy.manifests.pools import Pool

__all__ = ["autoscaler", "autoscaler_names", "needs_scaler"]

#: Seconds between two looks at the number.
_SYNC = 15


def needs_scaler(pool: Pool) -> bool:
    """Whether the number comes from ``celeriac scale serve``."""
    return bool(pool.scalers) and pool.scalers[0] != "hpa-queue-length"


def autoscaler_names(scaled: list[str]) -> dict[str, str]:
    """Return the name of each scaled pool's autoscaler: ``celery-autoscaler`` for the first one."""
    return {pool: f"{AUTOSCALER}-{pool}" if number else AUTOSCALER for number, pool in enumerate(scaled)}


def autoscaler(name: str, pool: Pool, app: Application, version: KubeVersion, title: str) -> Manifest:
    """Return the one object that scales this pool."""
    kind = pool.scalers[0]
    if kind == "hpa-queue-length":
        return _hpa(name, pool, app, title, _queue_length_metric(pool))
    if kind == "hpa-desired":
        hpa = _hpa(name, pool, app, title, _external(DESIRED_WORKERS, {"matchLabels": {"pool": name}}, "1"))
        hpa["spec"]["behavior"] = _behaviour(version)
        return hpa
    return _scaled_object(name, pool, app, version, title)


def _target(name: str, pool: Pool) -> Manifest:
    kind = "StatefulSet" if pool.workload == "statefulset" else "Deployment"
    return {"apiVersion": "apps/v1", "kind": kind, "name": workload_name(name)}


def _hpa(name: str, pool: Pool, app: Application, title: str, metric: Manifest) -> Manifest:
    hpa = head(app, "autoscaling/v2", "HorizontalPodAutoscaler", title, f"worker-{name}")
    hpa["spec"] = {
        "scaleTargetRef": _target(name, pool),
        "minReplicas": pool.min,
        "maxReplicas": pool.ceiling,
        "metrics": [metric],
    }
    return hpa


def _queue_length_metric(pool: Pool) -> Manifest:
    selector = None
    if pool.queues:
        selector = {"matchExpressions": [{"key": "queue", "operator": "In", "values": list(pool.queues)}]}
    return _external(QUEUE_LENGTH, selector, str(pool.queue_length))


def _external(metric: str, selector: Manifest | None, average: str) -> Manifest:
    identity: Manifest = {"name": metric} | ({"selector": selector} if selector else {})
    return {
        "type": "External",
        "external": {"metric": identity, "target": {"type": "AverageValue", "averageValue": average}},
    }


def _behaviour(version: KubeVersion) -> Manifest:
    """Up at once and by half or more, down by half a minute: the forecast has done the smoothing already.

    The default tolerance would swallow changes of less than a tenth.
    """
    exactly: Manifest = {"tolerance": "0"} if version.has_hpa_tolerance else {}
    return {
        "scaleUp": {
            **exactly,
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": _SYNC},
                {"type": "Pods", "value": 10, "periodSeconds": _SYNC},
            ],
        },
        "scaleDown": {
            **exactly,
            "stabilizationWindowSeconds": 120,
            "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
        },
    }


def _scaled_object(name: str, pool: Pool, app: Application, version: KubeVersion, title: str) -> Manifest:
    scaled = head(app, "keda.sh/v1alpha1", "ScaledObject", title, f"worker-{name}")
    trigger = _push(name, app) if pool.scalers[0] == "keda-push" else _metrics_api(name, app)
    scaled["spec"] = {
        "scaleTargetRef": _target(name, pool),
        "pollingInterval": _SYNC,
        "cooldownPeriod": 300,
        "minReplicaCount": pool.min,
        "maxReplicaCount": pool.ceiling,
        # Without the scaler the pool stays as it is, or grows to its least.
        "fallback": {
            "failureThreshold": 3,
            "replicas": max(pool.min, 1),
            "behavior": "currentReplicasIfHigher",
        },
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behaviour(version)}},
        "triggers": [trigger],
    }
    return scaled


def _push(name: str, app: Application) -> Manifest:
    address = f"{SCALER}.{app.cluster.k8s_namespace}.svc:{SCALER_GRPC_PORT}"
    return {
        "type": "external-push",
        "metricType": "AverageValue",
        "metadata": {"scalerAddress": address, "pool": name},
    }


def _metrics_api(name: str, app: Application) -> Manifest:
    return {
        "type": "metrics-api",
        "metricType": "AverageValue",
        "metadata": {
            "url": f"http://{SCALER}.{app.cluster.k8s_namespace}.svc:{SCALER_HTTP_PORT}/desired/{name}",
            "format": "json",
            "valueLocation": "desired",
            "targetValue": "1",
            "activationTargetValue": "0",
        },
    }
