"""kubectl, helm, checkov and an API that keeps what it is given agree with the manifests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from celeriac.deploy.manifests.chart import chart
from celeriac.deploy.manifests.kube_version import NEWEST, OLDEST, KubeVersion
from celeriac.deploy.manifests.render import kustomize
from celeriac.k8s.folder import write_folder
from tests.manifests.rendering import APPS, VERSIONS, described, rendered
from tests.manifests.with_tools.conftest import TOOLS, Tool

ENDS = (OLDEST, NEWEST)


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(found) == len(objects)
    return found


def write(folder: Path, app: str, version: KubeVersion, *, helm: bool = False) -> Path:
    """An app's manifests, or its chart, in a folder."""
    rendering = rendered(app, version)
    write_folder(folder, chart(rendering, *described(app), version) if helm else kustomize(rendering))
    return folder


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("app", APPS)
def test_kubectl_builds_what_was_rendered(app: str, version: KubeVersion, tool: Tool, tmp_path: Path) -> None:
    built = tool("kubectl", "kustomize", write(tmp_path, app, version)).stdout
    assert by_name(list(yaml.safe_load_all(built))) == by_name(rendered(app, version).objects)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("app", APPS)
def test_helm_gives_the_same_by_default(app: str, version: KubeVersion, tool: Tool, tmp_path: Path) -> None:
    folder = write(tmp_path, app, version, helm=True)
    tool("helm", "lint", "--strict", folder)
    space = described(app)[0].cluster.k8s_namespace
    text = tool("helm", "template", "x", folder, "--namespace", space, "--kube-version", version).stdout
    made = by_name([one for one in yaml.safe_load_all(text) if one])
    expected = by_name(rendered(app, version).objects)
    del expected["Namespace", space]
    assert made == expected


def test_helms_values_change_what_they_say(tool: Tool, tmp_path: Path) -> None:
    folder = write(tmp_path, "media", NEWEST, helm=True)
    values = ["--set", "image=other:1", "--set", "pools.encode.max=7", "--set", "pools.infer.memory=32Gi"]
    text = tool("helm", "template", "x", folder, "-n", "elsewhere", "--kube-version", NEWEST, *values).stdout
    made = by_name([one for one in yaml.safe_load_all(text) if one])
    assert made["HorizontalPodAutoscaler", "celery-autoscaler-encode"]["spec"]["maxReplicas"] == 7
    [worker] = made["Deployment", "celery-infer"]["spec"]["template"]["spec"]["containers"]
    assert worker["image"] == "other:1"
    assert worker["resources"]["limits"]["memory"] == "32Gi"
    [trigger] = made["ScaledObject", "celery-autoscaler-infer"]["spec"]["triggers"]
    assert trigger["metadata"]["scalerAddress"].startswith("celery-scaler.elsewhere.svc:")
    assert {one["metadata"]["namespace"] for one in made.values()} == {"elsewhere"}
    assert tool("helm", "template", "x", folder, "--set", "pools.encode.maxx=7", ok=False).returncode != 0


@pytest.mark.parametrize("version", ENDS, ids=str)
@pytest.mark.parametrize("app", APPS)
def test_checkov_finds_nothing_unexplained(
    app: str, version: KubeVersion, tool: Tool, tmp_path: Path
) -> None:
    folder = write(tmp_path, app, version)
    said = tool(
        *("checkov", "--directory", folder, "--framework", "kubernetes"),
        *("--output", "json", "--compact", "--skip-download"),
        ok=False,
    )
    report = json.loads(said.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 150
    # The tag "latest" of an app that names no image is a finding, and a warning of ours.
    unpinned = {"CKV_K8S_14"} if app == "logistics" else set()
    failed = report["results"]["failed_checks"]
    assert {check["check_id"] for check in failed} == unpinned, failed
    skipped = report["results"]["skipped_checks"]
    assert len(skipped) == report["summary"]["skipped"] > 3
    for check in skipped:
        assert len(check["check_result"]["suppress_comment"].split()) > 5


def plural(kind: str) -> str:
    """The name under which the API keeps objects of this kind."""
    return "networkpolicies" if kind == "NetworkPolicy" else f"{kind.lower()}s"


@contextmanager
def fake_api(objects: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """The URL of an API that knows the kinds of these objects."""
    resources = {}
    for one in objects:
        namespaced = one["kind"] != "Namespace"
        resources[f"{one['apiVersion']}/{plural(one['kind'])}"] = {
            "kind": one["kind"],
            "namespaced": namespaced,
        }
    known = folder / "resources.json"
    known.write_text(json.dumps(resources))
    script = Path(__file__).with_name("fake_api.py")
    with subprocess.Popen(
        [TOOLS / "python", script, known], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


@pytest.mark.parametrize("app", ["plain", "media"])
def test_what_is_created_can_be_read_and_patched(app: str, tool: Tool, tmp_path: Path) -> None:
    # kmock knows namespaces only as a part of other objects' paths.
    objects = [one for one in rendered(app, NEWEST).objects if one["kind"] != "Namespace"]
    (tmp_path / "cache").mkdir()
    with fake_api(objects, tmp_path) as url:
        at = ["--server", url, "--cache-dir", tmp_path / "cache"]
        for number, one in enumerate(objects):
            file = tmp_path / f"{number}.json"
            file.write_text(json.dumps(one))
            tool("kubectl", "create", *at, "--validate=false", "-f", file)
            kind, meta = one["kind"], one["metadata"]
            group, _, version = one["apiVersion"].rpartition("/")
            resource = f"{plural(kind)}.{version}.{group}" if group else plural(kind)
            where = [*at, "-n", meta["namespace"], resource, meta["name"]]
            kept = json.loads(tool("kubectl", "get", "-o", "json", *where).stdout)
            assert {key: kept.get(key) for key in one if key != "metadata"} == {
                key: value for key, value in one.items() if key != "metadata"
            }
            assert kept["metadata"]["labels"] == meta["labels"]
            if kind == "Deployment":
                patch = '{"spec": {"replicas": 7}}'
                tool("kubectl", "patch", *where, "--type", "merge", "-p", patch)
                kept = json.loads(tool("kubectl", "get", "-o", "json", *where).stdout)
                assert kept["spec"] == {**one["spec"], "replicas": 7}
