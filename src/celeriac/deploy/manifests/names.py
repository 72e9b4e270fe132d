"""Names, labels, ports and commands that several manifests share; those in capitals are contracts."""

from __future__ import annotations

from typing import Any

from celeriac.deploy.manifests.application import Application

__all__ = [
    "CONFIG_MAP",
    "Manifest",
    "explained",
    "head",
    "image_of",
    "labels_of",
    "metrics_port_of",
    "selector_of",
]

Manifest = dict[str, Any]

CONFIG_MAP = "celery-config"
AUTOSCALER = "celery-autoscaler"
EXPORTER = "celery-exporter"
SCALER = "celery-scaler"
BEAT = "celery-beat"
QUEUE_LENGTH = "celery_queue_length"
DESIRED_WORKERS = "celery_desired_workers"

METRICS_PORT = 9540
#: A pod has an address of its own, at which the node and Prometheus ask.
EVERYWHERE = "0.0.0.0"  # noqa: S104
SCALER_GRPC_PORT = 6000
SCALER_HTTP_PORT = 8080
#: The name of the port on which the scaler answers ``metrics-api`` and Prometheus.
SCALER_HTTP = "http"


def workload_name(pool: str) -> str:
    """Return the name of a pool's workload."""
    return f"celery-{pool}"


def selector_of(app: Application, component: str) -> dict[str, str]:
    """Return the labels that tell one component's pods from all others; they never change."""
    return {
        "app.kubernetes.io/name": "celery",
        "app.kubernetes.io/instance": instance_of(app),
        "app.kubernetes.io/component": component,
    }


def labels_of(app: Application, component: str) -> dict[str, str]:
    """Return all labels of a component."""
    return {**selector_of(app, component), "app.kubernetes.io/managed-by": "celeriac"}


def instance_of(app: Application) -> str:
    """Return the application's name as a label may have it."""
    kept = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in app.name)
    return kept.strip("-_.")[:63] or "app"


def head(app: Application, api: str, kind: str, name: str, component: str) -> Manifest:
    """Return an object with its metadata, to which the rest is added."""
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": app.cluster.k8s_namespace,
            "labels": labels_of(app, component),
        },
    }


def image_of(app: Application) -> str:
    """Return the image that holds the application."""
    return app.cluster.k8s_image or f"{app.name.partition('.')[0].partition(':')[0].lower()}/celery:latest"


def metrics_port_of(app: Application) -> int:
    """Return the port on which a worker answers probes and Prometheus."""
    return app.metrics_port or METRICS_PORT


def explained(app: Application, *findings: tuple[str, str]) -> dict[str, str]:
    """Return annotations that tell the scanner checkov why a check does not apply to this workload."""
    found = [("CKV_K8S_35", "Celery's settings, the broker's URL among them, are read from the environment")]
    if "@sha256:" not in image_of(app):
        found.append(("CKV_K8S_43", "the image is pinned by the setting k8s_image, which may name a digest"))
    return {
        f"checkov.io/skip{number}": f"{id_}={why}" for number, (id_, why) in enumerate([*found, *findings], 1)
    }
