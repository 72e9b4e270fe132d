"""Who may talk to whom: nothing comes in but scrapes and the autoscaler's questions, and little goes out."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.names import (
    SCALER,
    SCALER_GRPC_PORT,
    SCALER_HTTP_PORT,
    Manifest,
    head,
    instance_of,
    metrics_port_of,
    selector_of,
)

__all__ = ["network_policies"]

#: Where the Kubernetes API answers, by the clusters' kinds.
_API_PORTS = (443, 6443)


def network_policies(app: Application, *, scaler: bool) -> list[Manifest]:
    """Return a policy for all pods of the application, and one more for the scaler if there is one."""
    return [_for_all(app), *([_for_scaler(app)] if scaler else [])]


def _for_all(app: Application) -> Manifest:
    policy = head(app, "networking.k8s.io/v1", "NetworkPolicy", "celery", "network")
    outside = sorted({*app.server_ports, *app.cluster.k8s_egress_ports})
    ingress = [_from(app.cluster.k8s_monitoring_namespace, [metrics_port_of(app)])]
    policy["spec"] = {
        "podSelector": {
            "matchLabels": {
                "app.kubernetes.io/name": "celery",
                "app.kubernetes.io/instance": instance_of(app),
            }
        },
        "policyTypes": ["Ingress", "Egress"],
        # Probes come from the node itself, which policies let through.
        "ingress": ingress,
        "egress": [_names(), {"ports": _tcp(outside)}],
    }
    return policy


def _for_scaler(app: Application) -> Manifest:
    """The scaler answers KEDA and Prometheus, and marks idle pods through the Kubernetes API."""
    policy = head(app, "networking.k8s.io/v1", "NetworkPolicy", SCALER, "scaler")
    policy["spec"] = {
        "podSelector": {"matchLabels": selector_of(app, "scaler")},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            _from(app.cluster.k8s_keda_namespace, [SCALER_GRPC_PORT, SCALER_HTTP_PORT]),
            _from(app.cluster.k8s_monitoring_namespace, [SCALER_HTTP_PORT]),
        ],
        "egress": [{"ports": _tcp(_API_PORTS)}],
    }
    return policy


def _from(namespace: str, ports: Sequence[int]) -> Manifest:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return {"from": [peer], "ports": _tcp(ports)}


def _names() -> Manifest:
    """Name servers, wherever they are: a cache on the node itself has no pod to name."""
    return {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}


def _tcp(ports: Sequence[int]) -> list[Manifest]:
    return [{"protocol": "TCP", "port": port} for port in ports]
