"""The same manifests as a Helm chart, whose values are what differs between installations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, MutableMapping
from copy import deepcopy
from typing import Any

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.kube_version import KubeVersion
from celeriac.deploy.manifests.names import Manifest, image_of, instance_of, workload_name
from celeriac.deploy.manifests.pools import Pool
from celeriac.deploy.manifests.render import Rendering
from celeriac.deploy.manifests.yaml_text import as_yaml

__all__ = ["chart"]

#: Where a value goes, by the object's kind; ``{pool}`` stands for the values of one pool.
_POOL_VALUES: Mapping[str, Mapping[str, str]] = {
    "Deployment": {"spec.replicas": "min"},
    "StatefulSet": {"spec.replicas": "min"},
    "HorizontalPodAutoscaler": {"spec.minReplicas": "min", "spec.maxReplicas": "max"},
    "ScaledObject": {"spec.minReplicaCount": "min", "spec.maxReplicaCount": "max"},
}
_RESOURCES = {
    "requests.cpu": "cpu",
    "limits.cpu": "cpu",
    "requests.memory": "memory",
    "limits.memory": "memory",
}
_MARK = re.compile(r"""(['"]?)<<helm:(.+?)>>\1""")
_WORKLOADS = ("Deployment", "StatefulSet")


def chart(
    rendering: Rendering, app: Application, pools: Mapping[str, Pool], version: KubeVersion
) -> dict[str, str]:
    """Return the text of each of the chart's files by its name; its defaults give what ``rendering`` has.

    The namespace is the release's own, so the chart makes none.
    """
    values = _values(app, pools)
    templates = {
        f"templates/{name}.yaml": _template([_placed(one, app, pools) for one in objects])
        for name, objects in rendering.files.items()
        if name != "namespace"
    }
    about = {
        "apiVersion": "v2",
        "name": _chart_name(app),
        "description": f"Celery workers of {app.name}.",
        "type": "application",
        "version": "0.1.0",
        "appVersion": image_of(app).rpartition(":")[2],
        "kubeVersion": f">={version}.0-0",
        "icon": "https://docs.celeryq.dev/en/stable/_static/celery_512.png",
    }
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **_schema_of(values)}
    return {
        "Chart.yaml": as_yaml([about]),
        "values.yaml": as_yaml([values]),
        "values.schema.json": json.dumps(schema, indent=2) + "\n",
        **templates,
    }


def _values(app: Application, pools: Mapping[str, Pool]) -> dict[str, Any]:
    return {
        "image": image_of(app),
        "secret": app.cluster.k8s_secret,
        "pools": {
            name: {"min": pool.min, "max": pool.ceiling, "cpu": str(pool.cpu), "memory": pool.memory}
            for name, pool in pools.items()
        },
    }


def _placed(manifest: Manifest, app: Application, pools: Mapping[str, Pool]) -> Manifest:
    """Return the object with marks where values go."""
    placed = deepcopy(manifest)
    placed["metadata"]["namespace"] = _mark(".Release.Namespace")
    _replace_namespace(placed, app.cluster.k8s_namespace)
    pool = _pool_of(manifest, pools)
    if pool is not None:
        for path, value in _POOL_VALUES.get(manifest["kind"], {}).items():
            _put(placed, path, _pool_mark(pool, value))
    if manifest["kind"] in _WORKLOADS:
        for container in placed["spec"]["template"]["spec"]["containers"]:
            container["image"] = _mark(".Values.image | quote")
            container["envFrom"][1]["secretRef"]["name"] = _mark(".Values.secret")
            for path, value in _RESOURCES.items() if pool is not None else ():
                _put(container["resources"], path, _pool_mark(pool or "", value, quoted=True))
    return placed


def _pool_of(manifest: Manifest, pools: Mapping[str, Pool]) -> str | None:
    kind = manifest["kind"]
    name = (
        manifest["spec"]["scaleTargetRef"]["name"] if "scaleTargetRef" in manifest.get("spec", {}) else None
    )
    if kind in _WORKLOADS:
        name = manifest["metadata"]["name"]
    return next((pool for pool in pools if workload_name(pool) == name), None)


def _replace_namespace(manifest: Manifest, namespace: str) -> None:
    for subject in manifest.get("subjects", ()):
        subject["namespace"] = _mark(".Release.Namespace")
    for trigger in manifest.get("spec", {}).get("triggers", ()):
        for key, value in trigger["metadata"].items():
            trigger["metadata"][key] = value.replace(
                f".{namespace}.svc", f".{_mark('.Release.Namespace')}.svc"
            )


def _put(target: MutableMapping[str, Any], path: str, value: str) -> None:
    """Set what lies at the dotted path, if there is anything."""
    *steps, last = path.split(".")
    for step in steps:
        target = target.get(step, {})
    if last in target:
        target[last] = value


def _mark(expression: str) -> str:
    return f"<<helm:{expression}>>"


def _pool_mark(pool: str, value: str, *, quoted: bool = False) -> str:
    return _mark(f'(index .Values.pools "{pool}").{value}' + (" | quote" if quoted else ""))


def _template(manifests: list[Manifest]) -> str:
    """Return the text with Helm's expressions for the marks; braces of the app's own stay what they are."""
    text = as_yaml(manifests).replace("{{", '{{ "{{" }}')
    return "".join(_expressions(text))


def _expressions(text: str) -> Iterator[str]:
    end = 0
    for match in _MARK.finditer(text):
        yield text[end : match.start()]
        yield "{{ " + match[2] + " }}"
        end = match.end()
    yield text[end:]


def _schema_of(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {key: _schema_of(part) for key, part in value.items()},
        }
    return {"type": "integer", "minimum": 0} if isinstance(value, int) else {"type": "string", "minLength": 1}


def _chart_name(app: Application) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", instance_of(app).lower()).strip("-") or "celery"
