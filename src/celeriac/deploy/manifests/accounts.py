"""Namespace, configuration and accounts: pods have no rights in the cluster, but for the scaler's few."""

from __future__ import annotations

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.names import CONFIG_MAP, SCALER, Manifest, head
from celeriac.deploy.manifests.pod import config_data

__all__ = ["config_map", "namespace", "scaler_account", "service_account"]


def namespace(app: Application) -> Manifest:
    """Return the namespace, which admits only pods that keep the strictest of Kubernetes' own rules."""
    space = head(app, "v1", "Namespace", app.cluster.k8s_namespace, "namespace")
    del space["metadata"]["namespace"]
    space["metadata"]["labels"] |= {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    return space


def config_map(app: Application) -> Manifest:
    """Return what all containers find in their environment and anybody may read."""
    config = head(app, "v1", "ConfigMap", CONFIG_MAP, "configuration")
    config["data"] = config_data(app)
    return config


def service_account(app: Application) -> Manifest:
    """Return the account of all pods but the scaler's: without a token, so without rights."""
    account = head(app, "v1", "ServiceAccount", "celery", "account")
    account["automountServiceAccountToken"] = False
    return account


def scaler_account(app: Application) -> list[Manifest]:
    """Return the scaler's account, which may see how many pods there are and mark those that are idle."""
    account = head(app, "v1", "ServiceAccount", SCALER, "scaler")
    account["automountServiceAccountToken"] = False
    role = head(app, "rbac.authorization.k8s.io/v1", "Role", SCALER, "scaler")
    role["rules"] = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get"]},
    ]
    binding = head(app, "rbac.authorization.k8s.io/v1", "RoleBinding", SCALER, "scaler")
    binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": SCALER}
    binding["subjects"] = [{"kind": "ServiceAccount", "name": SCALER, "namespace": app.cluster.k8s_namespace}]
    return [account, role, binding]
