"""The cases pass, each file in a process of its own with each database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.django.postgres import postgres
from tests.workers import ROOT

__all__ = ["postgres"]  # the fixture

CASES = sorted(path.name for path in Path(__file__).parent.glob("cases_*.py"))


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, dict[str, Any]]:
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        return {"default": server.database(), "other": server.database()}
    names = {"default": tmp_path / "default.db", "other": tmp_path / "other.db"}
    return {
        alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": str(name), "OPTIONS": {"timeout": 30}}
        for alias, name in names.items()
    }


@pytest.mark.shows("beyond", "model instances as arguments", "versions of rows")
@pytest.mark.parametrize("cases", CASES)
def test_cases_pass(cases: str, databases: dict[str, Any], tmp_path: Path) -> None:
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.django.rows.settings",
        "DATABASES": json.dumps(databases),
        "BROKER": f"sqlite:///{tmp_path}/broker.db",
        "RESULTS": f"sqlite:///{tmp_path}/results.db",
        "SCRATCH": str(tmp_path),
    }
    options = [
        "-q",
        "-p",
        "tests.django.rows.inside",
        "-o",
        "python_files=cases_*.py",
        "-p",
        "no:cacheprovider",
    ]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(Path(__file__).with_name(cases))],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
