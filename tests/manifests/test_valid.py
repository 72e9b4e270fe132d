"""Every object is one that the API server of every version accepts, without a field that it does not know."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from celeriac.deploy.manifests.kube_version import KubeVersion
from tests.manifests.rendering import APPS, ROOT, VERSIONS, find, rendered

SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "tests/manifests/schemas").glob("*.json")
}


def check(manifest: dict[str, Any], version: KubeVersion) -> None:
    """Return if the object is valid for that version; fail with the reason otherwise."""
    if manifest["kind"] in SCHEMAS:
        jsonschema.Draft202012Validator(SCHEMAS[manifest["kind"]]).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, str(version), strict=True)


@pytest.mark.shows("beyond", "Kubernetes manifests from the app's own configuration")
@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("app", APPS)
def test_every_object_is_valid(app: str, version: KubeVersion) -> None:
    objects = rendered(app, version).objects
    assert len(objects) >= 9
    for manifest in objects:
        check(manifest, version)


def test_a_wrong_field_is_found() -> None:
    deployment = find(rendered("plain"), "Deployment", "celery-worker")
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        check(deployment, VERSIONS[0])
    hpa = find(rendered("media", VERSIONS[-1]), "HorizontalPodAutoscaler", "celery-autoscaler-encode")
    assert hpa["spec"]["behavior"]["scaleUp"]["tolerance"] == "0"
    with pytest.raises(kubernetes_validate.ValidationError):
        check(hpa, VERSIONS[0])
    scaled = find(rendered("media"), "ScaledObject", "celery-autoscaler-infer")
    scaled["spec"]["fallback"]["behaviour"] = "static"
    with pytest.raises(jsonschema.ValidationError):
        check(scaled, VERSIONS[0])


def test_a_version_gets_just_the_fields_it_has() -> None:
    with_tolerance, with_unavailable = [], []
    for version in VERSIONS:
        rendering = rendered("media", version)
        hpa = find(rendering, "HorizontalPodAutoscaler", "celery-autoscaler-encode")
        if "tolerance" in hpa["spec"]["behavior"]["scaleDown"]:
            with_tolerance.append(version.minor)
        if "rollingUpdate" in find(rendering, "StatefulSet", "celery-named")["spec"]["updateStrategy"]:
            with_unavailable.append(version.minor)
    assert with_tolerance == with_unavailable == [35, 36, 37]
