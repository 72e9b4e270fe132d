"""The command, as it is typed: what it writes, what it says, and when it ends with which code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from celeriac.cli import celery_command
from celeriac.core.errors import ConfigurationError
from celeriac.k8s.application import describe, pools_of
from celeriac.k8s.folder import write_folder
from tests.manifests.apps.media import app as media
from tests.manifests.rendering import APPS

MEDIA = "tests.manifests.apps.media"


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(celery_command, [*map(str, arguments)], prog_name="celeriac")


def test_render_writes_what_kustomize_wants(tmp_path: Path) -> None:
    module, folder = APPS["logistics"]
    line = [
        str(Path(sys.executable).with_name("celeriac")),
        "-A",
        module,
        "k8s",
        "render",
        "--out",
        str(tmp_path),
    ]
    said = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("10 objects in 7 files for Kubernetes 1.30: kubectl apply -k ")
    assert "Warning: k8s_image is not set" in said.stderr
    named = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())["resources"]
    assert {*named, "kustomization.yaml"} == {path.name for path in tmp_path.glob("*.yaml")}
    config, _account = yaml.safe_load_all((tmp_path / "config.yaml").read_text())
    assert config["metadata"]["name"] == "celery-config"
    assert config["data"]["APP"] == "logistics"


def test_render_again_removes_what_is_not_needed_any_more(tmp_path: Path) -> None:
    first = command("-A", MEDIA, "k8s", "render", "--out", tmp_path, "--json")
    told = json.loads(first.stdout)
    assert first.exit_code == 0
    assert "scaler.yaml" in told["files"]
    assert [text for text in told["warnings"] if "oscillates" in text]
    again = command("-A", "tests.manifests.apps.plain", "k8s", "render", "--out", tmp_path)
    assert again.exit_code == 0
    assert not (tmp_path / "scaler.yaml").exists()
    (tmp_path / "own.yaml").write_text("")
    refused = command("-A", MEDIA, "k8s", "render", "--out", tmp_path)
    assert refused.exit_code == 2
    assert "holds other files, such as own.yaml" in refused.output
    assert not (tmp_path / "scaler.yaml").exists()


def test_the_image_can_be_named_for_once(tmp_path: Path) -> None:
    made = command("-A", MEDIA, "k8s", "render", "--out", tmp_path, "--image", "media:2", "--helm")
    assert made.exit_code == 0
    assert yaml.safe_load((tmp_path / "values.yaml").read_text())["image"] == "media:2"
    assert "{{ .Values.image | quote }}" in (tmp_path / "templates" / "pool-web.yaml").read_text()
    assert "media:2" not in (tmp_path / "templates" / "pool-web.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--kube-version", "1.29"], "1.30 to 1.37, not 1.29"),
        (["--kube-version", "newest"], "is no version"),
    ],
)
def test_a_mistake_takes_one_line(arguments: list[str], text: str, tmp_path: Path) -> None:
    said = command("-A", MEDIA, "k8s", "render", "--out", tmp_path / "new", *arguments)
    assert said.exit_code == 2
    assert text in said.output
    assert "Traceback" not in said.output
    assert not (tmp_path / "new").exists()


def test_an_app_tells_of_its_tasks_by_queue() -> None:
    told = describe(media, "media")
    assert (told.work["encode"].longest, told.work["celery"].longest) == (1800, 300)
    assert told.work["encode"].at_most_once == ()
    assert told.work["notify"].at_most_once == ("media.notify",)
    assert told.server_ports == (6379, 6380)
    assert told.redelivers_after == 3600, "kombu's default on Redis"
    assert (told.soft_shutdown, told.metrics_port, told.has_schedule) == (20, 9100, True)
    assert set(pools_of(media)) == {"web", "encode", "infer", "notify", "named"}


def test_a_folder_is_only_its_writers(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", {"x": "1", "sub/y": "2"})
    write_folder(tmp_path / "a", {"sub/y": "3"})
    assert [path.name for path in sorted((tmp_path / "a").rglob("*")) if path.is_file()] == [".celeriac", "y"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_text("mine")
    with pytest.raises(ConfigurationError, match="name an empty folder"):
        write_folder(tmp_path / "b", {"x": "1"})
    assert (tmp_path / "b" / "x").read_text() == "mine"
