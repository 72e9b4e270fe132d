"""The rendered commands do what the manifests say when they are run: as process 1, in that environment."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.deploy.manifests.render import Rendering
from tests.manifests.rendering import ROOT, find, rendered
from tests.servers import RedisServer, free_port, require, wait_until

_BIN = Path(sys.executable).parent
_AS_PROCESS_1 = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child")
#: Volumes of their own.
KEPT = {"schedule", "learnt"}
COUNTED = 'celeriac_tasks_finished_total{outcome="succeeded",queue="celery",task="started.add"} 1.0'


class Container:
    """One container of a rendered workload, run on this machine in a process namespace of its own."""

    def __init__(
        self, rendering: Rendering, kind: str, name: str, secret: dict[str, str], folder: Path
    ) -> None:
        [found] = find(rendering, kind, name)["spec"]["template"]["spec"]["containers"]
        text = json.dumps(found)
        # A pod has an address and folders of its own; here ports and paths can differ.
        self.ports = {entry["name"]: free_port() for entry in found.get("ports", ())}
        for entry in found.get("ports", ()):
            text = text.replace(str(entry["containerPort"]), str(self.ports[entry["name"]]))
        for mount in found["volumeMounts"]:
            if mount["name"] in KEPT:
                (folder / mount["name"]).mkdir(exist_ok=True)
                text = text.replace(mount["mountPath"], str(folder / mount["name"]))
        self.port = self.ports.get("metrics") or self.ports.get("http", 0)
        self.spec: dict[str, Any] = json.loads(text)
        self.log = folder / f"{name}.log"
        config = find(rendering, "ConfigMap", "celery-config")["data"]
        own = {entry["name"]: entry.get("value", "") for entry in self.spec.get("env", ())}
        inherited = {name: value for name, value in os.environ.items() if name != "HOSTNAME"}
        self.environment = {**inherited, "PYTHONPATH": str(ROOT), **config, **secret, **own}

    @property
    def text(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    @contextmanager
    def run(self) -> Iterator[int]:
        """Yield the id of its process, which is 1 as it sees itself."""
        command = [*self.spec["command"], *self.spec.get("args", ())]
        with (
            self.log.open("wb") as output,
            subprocess.Popen(
                [*_AS_PROCESS_1, str(_BIN / command[0]), *command[1:]],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
            ) as outer,
        ):
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            try:
                wait_until(lambda: outer.poll() is not None or children.read_text(), what="process 1")
                assert outer.poll() is None, self.text
                self.outer = outer
                yield int(children.read_text().split()[0])
            finally:
                outer.kill()

    def ask(self, path: str) -> tuple[int, str]:
        """Its answer on the port that the manifest names, with status 0 if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            assert self.outer.poll() is None, self.text
            return 0, ""
        finally:
            connection.close()

    def probe(self, kind: str) -> int:
        """What a probe of it is answered."""
        return self.ask(self.spec[f"{kind}Probe"]["httpGet"]["path"])[0]

    def hook(self) -> subprocess.CompletedProcess[str]:
        """Its preStop command, run beside it."""
        command = self.spec["lifecycle"]["preStop"]["exec"]["command"]
        return subprocess.run(
            [str(_BIN / command[0]), *command[1:]],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def broker(redis: RedisServer) -> str:
    """The URL of a database of its own."""
    return redis.url.removesuffix("/0") + "/7"


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    require("unshare", "apt-get install util-linux")
    if subprocess.run([*_AS_PROCESS_1, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets its users have no process namespaces")


@pytest.mark.shows("beyond", "Kubernetes manifests from the app's own configuration")
def test_worker_exporter_probes_and_hook_work_as_rendered(broker: str, tmp_path: Path) -> None:
    rendering = rendered("started")
    worker = Container(rendering, "Deployment", "celery-worker", {"BROKER": broker}, tmp_path)
    exporter = Container(rendering, "Deployment", "celery-exporter", {"BROKER": broker}, tmp_path)
    with worker.run() as process, exporter.run():
        wait_until(lambda: worker.probe("startup") == 200, timeout=90, what="a worker that is ready")
        wait_until(lambda: exporter.probe("readiness") == 200, timeout=90, what="an exporter that is ready")
        assert (worker.probe("liveness"), worker.probe("readiness")) == (200, 200)
        assert exporter.probe("liveness") == 200
        with Celery("producer", broker=broker) as producer:
            producer.send_task("started.add", args=(1, 2))
            wait_until(lambda: COUNTED in worker.ask("/metrics")[1], what="a task that is counted")
        told = exporter.ask("/metrics")[1]
        assert 'celery_queue_length{queue="celery"} 0.0' in told
        assert "celeriac_tasks_finished_total{" not in told, "that is for the workers' own ports"
        hook = worker.hook()
        assert (hook.returncode, hook.stderr) == (0, ""), hook
        assert "has run dry; it consumed celery" in hook.stdout
        assert worker.probe("liveness") == 200, "it waits for TERM"
        os.kill(process, signal.SIGTERM)
        assert worker.outer.wait(timeout=20) == 0
        assert "KeyError" not in worker.text


@pytest.mark.shows("beyond", "a pool at zero wakes before an entry of beat's is due, whatever its schedule")
def test_beat_and_scaler_work_as_rendered(broker: str, tmp_path: Path) -> None:
    rendering = rendered("started")
    beat = Container(rendering, "StatefulSet", "celery-beat", {"BROKER": broker}, tmp_path)
    scaler = Container(rendering, "StatefulSet", "celery-scaler", {"BROKER": broker}, tmp_path)
    with Celery("consumer", broker=broker) as consumer, scaler.run() as process:
        wait_until(lambda: scaler.probe("readiness") == 200, timeout=90, what="a scaler that has decided")
        assert scaler.probe("liveness") == 200
        assert json.loads(scaler.ask("/desired/worker")[1])["desired"] == 0
        with beat.run():  # it sends every 40 s: a pod takes 5 s here, and the scaler looks every 15
            wait_until(lambda: woken(scaler), timeout=90, what="a pool that wakes for beat")
            told = json.loads(scaler.ask("/desired/worker")[1])
            assert told["reason"] == "beat is about to send often"
            assert consumer.amqp.publishers.get().broker.stats(["celery"])["celery"].ready == 0, (
                "not yet sent"
            )
        os.kill(process, signal.SIGTERM)
        assert scaler.outer.wait(timeout=20) == 0, scaler.text
    assert (tmp_path / "learnt" / "state").stat().st_size
    assert (tmp_path / "schedule").iterdir()


def woken(scaler: Container) -> bool:
    return bool(json.loads(scaler.ask("/desired/worker")[1])["desired"] == 1)
