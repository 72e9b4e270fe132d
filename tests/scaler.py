"""A real ``celeriac scale serve``, and who asks it as KEDA does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from celeriac.deploy.outlets.protocol import SERVICE, protocol
from tests.prometheus import Scraped
from tests.servers import free_port, wait_until
from tests.stage import Stage
from tests.workers import ROOT

APP = "tests.apps.pooled"
CELERIAC = str(Path(sys.executable).with_name("celeriac"))


class Keda:
    """Calls the scaler for one pool, through a channel of its own."""

    def __init__(self, port: int, pool: str) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._messages, self._rpcs = protocol()
        self._ref = self._messages["ScaledObjectRef"](
            name="celery-worker",
            namespace="default",
            scalerMetadata={"pool": pool, "scalerAddress": "x:6000"},
        )

    def call(self, name: str, request: Any = None, timeout: float | None = 10.0) -> Any:
        rpc = self._rpcs[name]
        ask = getattr(self.channel, rpc.kind)(
            f"/{SERVICE}/{name}",
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )
        return ask(self._ref if request is None else request, timeout=timeout)

    def desired(self) -> tuple[int, float]:
        """What a fetch of KEDA's finds: the metric by its spec, as integer and float."""
        [spec] = self.call("GetMetricSpec").metricSpecs
        assert (spec.targetSize, spec.targetSizeFloat) == (1, 1.0)
        request = self._messages["GetMetricsRequest"](scaledObjectRef=self._ref, metricName=spec.metricName)
        [value] = self.call("GetMetrics", request).metricValues
        assert value.metricName == spec.metricName
        return value.metricValue, value.metricValueFloat

    def is_active(self) -> bool:
        return bool(self.call("IsActive").result)


class Scaler(Scraped):
    """A running scaler."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, grpc_port: int, log: Path) -> None:
        super().__init__(port)
        self.process = process
        self.grpc_port = grpc_port
        self.log = log

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def answer(self, pool: str) -> dict[str, Any]:
        """What is told of the pool as JSON."""
        status, body = self.get(f"/desired/{pool}")
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def desired(self, pool: str) -> int:
        return int(self.answer(pool)["desired"])

    def end(self) -> None:
        """SIGTERM, as the kubelet sends it."""
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, self.text


@contextmanager
def scaler(
    stage: Stage, *options: str, ready: bool = True, grpc_port: int = 0, **environment: str
) -> Iterator[Scaler]:
    """``celeriac scale serve`` on the stage's broker."""
    port = free_port()
    log = stage.folder / f"scaler-{port}.log"
    command = [CELERIAC, "-A", APP, "scale", "serve", "--port", str(port), "--grpc-port", str(grpc_port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env={**os.environ, **stage.environment(), **environment},
            stdout=output,
            stderr=output,
        )
    try:
        path = "/ready" if ready else "/live"
        wait_until(lambda: Scraped(port).get(path)[0] == 200 or process.poll() is not None, what="the scaler")
        assert process.poll() is None, log.read_text()
        told = re.search(r"KEDA at port (\d+)", log.read_text())
        assert told is not None, log.read_text()
        yield Scaler(process, port, int(told[1]), log)
    finally:
        process.terminate()
        process.wait(timeout=30)
