"""The tests in ``suite`` pass inside a Django project, on each Django that there is an interpreter for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers import ROOT

#: Made by ``make test`` where there is a Python that Django 6 runs on.
NEWER = ROOT / ".venv-django" / "bin" / "python"
SUITE = Path(__file__).with_name("suite")


@pytest.mark.timeout(600)  # it is two hundred tests, which share a busy machine with others
@pytest.mark.parametrize("newer", [False, True], ids=["this Django", "newest Django"])
def test_the_suite_passes(newer: bool, tmp_path: Path) -> None:
    if newer and not NEWER.exists():
        pytest.skip(f"{NEWER.relative_to(ROOT)} is missing: install Python 3.12 or newer, then make test")
    done = subprocess.run(
        [NEWER if newer else sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", SUITE],
        cwd=ROOT,
        env={**os.environ, "FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
