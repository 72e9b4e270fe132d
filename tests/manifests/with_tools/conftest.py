"""The programs of a platform team, in an environment of their own that ``make manifests`` sets up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.manifests.rendering import ROOT

TOOLS = ROOT / ".venv-k8s" / "bin"

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Runs one of the programs, and fails with what it said if it does not end with 0."""

    def run(name: str, *arguments: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(TOOLS / name), *map(str, arguments)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
        assert not ok or finished.returncode == 0, f"{command}: {finished.stdout}\n{finished.stderr}"
        return finished

    return run
