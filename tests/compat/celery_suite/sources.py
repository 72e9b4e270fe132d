"""Celery's own tests, as they are in its source distribution."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

__all__ = ["SuiteUnavailable", "fetch_suite"]

ROOT = Path(__file__).resolve().parents[3]
_CACHE = ROOT / ".venv" / "celery-suite"


class SuiteUnavailable(Exception):
    """The source distribution is neither here nor to be had."""


def fetch_suite() -> Path:
    """Return a folder with Celery's ``t`` package, downloading what requirements.lock names if need be.

    Raises SuiteUnavailable without a connection to the package index.
    """
    requirement, version = _locked_celery()
    folder = _CACHE / f"celery-{version}"
    if not (folder / "t" / "integration").is_dir():
        _unpack(_download(requirement, version))
    return folder


def _locked_celery() -> tuple[str, str]:
    """Return Celery's entry in requirements.lock with its hashes, on one line, and its version."""
    lock = (ROOT / "requirements.lock").read_text()
    found = re.search(r"^celery==(\S+)((?:\s+\\\n\s+--hash=\S+)+)", lock, re.MULTILINE)
    if found is None:
        raise SuiteUnavailable("requirements.lock names no Celery: make lock")
    version, hashes = found.groups()
    return f"celery=={version} {' '.join(hashes.replace(chr(92), ' ').split())}\n", version


def _download(requirement: str, version: str) -> Path:
    _CACHE.mkdir(parents=True, exist_ok=True)
    wanted = _CACHE / "requirement.txt"
    wanted.write_text(requirement)
    options = ["--no-deps", "--no-binary", "celery", "--require-hashes", "--retries", "1"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(wanted), "-d", str(_CACHE)]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode:
        reason = (pip.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise SuiteUnavailable(
            f"Celery's source distribution cannot be downloaded: {reason}; is the package index reachable?"
        )
    return _CACHE / f"celery-{version}.tar.gz"


def _unpack(archive: Path) -> None:
    """Unpack the tests alone: beside Celery's own package they would test that one."""
    with tarfile.open(archive) as tar:
        top = archive.name.removesuffix(".tar.gz")
        wanted = [
            member
            for member in tar.getmembers()
            if member.name.startswith(f"{top}/t/") or member.name == f"{top}/pyproject.toml"
        ]
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            tar.extractall(folder, wanted, filter="data")
            (Path(folder) / top).rename(archive.parent / top)  # all of it, or nothing
