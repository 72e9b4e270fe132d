"""Does with a pod what the kubelet does: starts it, probes it, runs preStop, sends TERM, kills at last."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from celeriac.deploy.manifests.names import Manifest
from tests.servers import free_port, wait_until

__all__ = ["End", "Kind", "Pod", "wait_ready"]

ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent

#: What ends a pod: its deletion, as the manifest has it; a node that shuts down without hooks; a node that
#: leaves it but a moment; a node that is gone.
Kind = Literal["as rendered", "no preStop", "short grace", "killed"]


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a pod ended: by which stage, how long each took, and with which code."""

    kind: Kind
    #: Its process group, by which a ledger knows it.
    group: int
    #: Whether the preStop command said that nothing runs any more; None if it did not run to its end.
    drained: bool | None
    hook_seconds: float
    seconds: float
    killed: bool
    exitcode: int

    @property
    def orderly(self) -> bool:
        """Whether nothing that it ran can have been cut short."""
        return self.drained is True and not self.killed


class Pod:
    """One pod of a workload's template, as a process group; its node is named after it."""

    def __init__(self, name: str, workload: Manifest, environment: dict[str, str], folder: Path) -> None:
        """``environment`` stands for what the pod's ConfigMap and Secret hold."""
        spec = workload["spec"]["template"]["spec"]
        [container] = spec["containers"]
        self.name = name
        self.node = f"celery@{name}"
        self.grace = float(spec["terminationGracePeriodSeconds"])
        self.log = folder / f"{name}.log"
        self.port = free_port()
        probes = ("startup", "liveness", "readiness")
        self._paths: dict[str, Any] = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in probes}
        self._hook: list[str] = [*container["lifecycle"]["preStop"]["exec"]["command"], "--node", self.node]
        own = {entry["name"]: entry["value"] for entry in container.get("env", ())}
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "METRICS_PORT": str(self.port),
            **environment,
            **own,
            "TMPDIR": str(folder),
        }
        command = [*container["command"], *self._named(container.get("args", []))]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                _resolved(command),
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _named(self, arguments: list[str]) -> list[str]:
        """All pods here share one host's name."""
        where = arguments.index("--") if "--" in arguments else len(arguments)
        return [*arguments[:where], "-n", self.node, *arguments[where:]]

    @property
    def text(self) -> str:
        """What it has logged so far."""
        return self.log.read_text(errors="replace")

    @property
    def ready(self) -> bool:
        """Whether its startup probe succeeds."""
        assert self.process.poll() is None, self.text
        return self.probe("startup")

    def probe(self, kind: str) -> bool:
        """Ask as the kubelet does: ``startup``, ``liveness`` or ``readiness``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._paths[kind])
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def end(self, kind: Kind = "as rendered", grace: float | None = None) -> End:
        """End the pod; return once its container is gone. ``grace`` stands in for its own."""
        began = time.monotonic()
        deadline = began + (self.grace if grace is None else grace)
        with_hook = kind in ("as rendered", "short grace")
        drained = self._run_hook(deadline) if with_hook else None
        hooked = time.monotonic()
        killed = kind == "killed"
        if not killed:
            self.process.send_signal(signal.SIGTERM)
            try:
                # A hook that took all of the time leaves the container two seconds.
                self.process.wait(max(2.0, deadline - hooked))
            except subprocess.TimeoutExpired:
                killed = True
        # With the container its whole process tree goes.
        self.kill()
        return End(
            kind=kind,
            group=self.process.pid,
            drained=drained,
            hook_seconds=hooked - began,
            seconds=time.monotonic() - began,
            killed=killed,
            exitcode=self.process.wait(),
        )

    def kill(self) -> None:
        """SIGKILL whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _run_hook(self, deadline: float) -> bool | None:
        with self.log.open("ab") as output:
            hook = subprocess.Popen(
                _resolved(self._hook), cwd=ROOT, env=self._environment, stdout=output, stderr=output
            )
        try:
            return hook.wait(max(0.0, deadline - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            hook.kill()
            hook.wait()
            return None


def _resolved(command: list[str]) -> list[str]:
    """The image's programs are those of this environment."""
    return [str(_BIN / command[0]), *command[1:]]


def wait_ready(pods: list[Pod]) -> None:
    """Return once all pods are ready."""
    wait_until(lambda: all(pod.ready for pod in pods), timeout=90, what="all pods ready")
