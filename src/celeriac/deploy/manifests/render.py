"""All manifests of an application, by file; the files are ready for ``kubectl apply -k``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from celeriac.deploy.manifests.accounts import config_map, namespace, service_account
from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.companions import beat, exporter, scaler, service_monitor
from celeriac.deploy.manifests.ending import ending_of
from celeriac.deploy.manifests.kube_version import KubeVersion
from celeriac.deploy.manifests.names import Manifest
from celeriac.deploy.manifests.network import network_policies
from celeriac.deploy.manifests.pools import Pool
from celeriac.deploy.manifests.refusals import refuse, warnings
from celeriac.deploy.manifests.scaling import autoscaler, autoscaler_names, needs_scaler
from celeriac.deploy.manifests.stock import all_stock
from celeriac.deploy.manifests.workload import workload
from celeriac.deploy.manifests.yaml_text import as_yaml

__all__ = ["Rendering", "kustomize", "render"]


class Rendering(msgspec.Struct, frozen=True):
    """Objects by the file they belong to, in the order to apply them, and what to tell whoever asked."""

    files: Mapping[str, Sequence[Manifest]]
    warnings: Sequence[str]

    @property
    def objects(self) -> list[Manifest]:
        """All objects, in order."""
        return [one for objects in self.files.values() for one in objects]


def render(app: Application, pools: Mapping[str, Pool], version: KubeVersion) -> Rendering:
    """Return the manifests; raise ConfigurationError for a combination that cannot work."""
    refuse(app, pools, version)
    with_scaler = any(needs_scaler(pool) for pool in pools.values())
    files: dict[str, Sequence[Manifest]] = {
        "namespace": [namespace(app)],
        "config": [config_map(app), service_account(app)],
        "network": network_policies(app, scaler=with_scaler),
    }
    titles = autoscaler_names([name for name, pool in pools.items() if pool.scalers])
    for name, pool in pools.items():
        objects = workload(name, pool, app, ending_of(name, pool, app), version)
        if pool.scalers:
            objects.append(autoscaler(name, pool, app, version, titles[name]))
        files[f"pool-{name}"] = objects
    if app.has_schedule:
        files["beat"] = beat(app)
    if app.stock_reason is None:
        files["exporter"] = exporter(app, queues_only=not all_stock(pools.values(), app))
    if with_scaler:
        files["scaler"] = scaler(app)
    if app.cluster.k8s_service_monitor and app.stock_reason is None:
        files["monitor"] = service_monitor(app, scaler=with_scaler)
    return Rendering(files, list(warnings(app, pools)))


def kustomize(rendering: Rendering) -> dict[str, str]:
    """Return the text of each file by its name, and of the ``kustomization.yaml`` that names them."""
    texts = {f"{name}.yaml": as_yaml(objects) for name, objects in rendering.files.items()}
    kustomization: Manifest = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(texts),
    }
    return {"kustomization.yaml": as_yaml([kustomization]), **texts}
