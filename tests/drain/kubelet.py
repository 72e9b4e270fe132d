"""Does with a pod what the kubelet does: starts its container, runs preStop, sends TERM, kills at last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from celeriac.deploy.manifests.names import Manifest
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a pod ended: by which stage, how long each took, and with which code."""

    #: Whether the preStop command said that nothing runs any more; None if it was cut short by the kubelet.
    drained: bool | None
    hook_seconds: float
    seconds: float
    killed: bool
    exitcode: int


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
        self._hook: list[str] = [*container["lifecycle"]["preStop"]["exec"]["command"], "--node", self.node]
        own = {entry["name"]: entry["value"] for entry in container.get("env", ())}
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
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
        """Whether it consumes."""
        assert self.process.poll() is None, self.text
        return " ready." in self.text

    def end(self, grace: float | None = None) -> End:
        """Delete the pod; return once its container is gone. ``grace`` stands in for its own."""
        began = time.monotonic()
        deadline = began + (self.grace if grace is None else grace)
        drained = self._run_hook(deadline)
        hooked = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        killed = False
        try:
            # A hook that took all of the time leaves the container two seconds.
            self.process.wait(max(2.0, deadline - hooked))
        except subprocess.TimeoutExpired:
            killed = True
        # With the container its whole process tree goes.
        self.kill()
        return End(
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
