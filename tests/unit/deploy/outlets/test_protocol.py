"""KEDA's protocol: the description is the current one, and says what KEDA's own says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from celeriac.core.errors import MissingExtra
from celeriac.deploy.outlets import protocol as module
from celeriac.deploy.outlets.answers import Answers
from celeriac.deploy.outlets.keda import KedaServer
from celeriac.deploy.outlets.protocol import protocol

FOLDER = Path(module.__file__).parent


def test_the_description_is_what_the_proto_file_says(tmp_path: Path) -> None:
    made = tmp_path / "made.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(FOLDER), f"--descriptor_set_out={made}"]
    subprocess.run([*command, "externalscaler.proto"], check=True, capture_output=True, timeout=60)
    assert made.read_bytes() == (FOLDER / "externalscaler.binpb").read_bytes(), "run: make protocol"


def test_names_and_numbers_are_those_that_keda_sends() -> None:
    messages, rpcs = protocol()
    assert {name: rpc.kind for name, rpc in rpcs.items()} == {
        "IsActive": "unary_unary",
        "StreamIsActive": "unary_stream",
        "GetMetricSpec": "unary_unary",
        "GetMetrics": "unary_unary",
        "StreamMetricSpec": "unary_stream",
    }
    value = messages["MetricValue"](metricName="n", metricValue=3, metricValueFloat=0.5)
    assert value.SerializeToString() == b"\x0a\x01n\x10\x03\x19" + b"\0\0\0\0\0\0\xe0\x3f"
    ref = messages["ScaledObjectRef"](name="a", namespace="b", scalerMetadata={"k": "v"})
    assert ref.SerializeToString() == b"\x0a\x01a\x12\x01b\x1a\x06\x0a\x01k\x12\x01v"


def test_without_grpc_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(MissingExtra, match=r"pip install 'celeriac\[kubernetes\]'"):
        KedaServer("127.0.0.1", 0, Answers(["worker"]))
