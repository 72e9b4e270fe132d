"""One JSON file for each section: the setting of the run and its raw numbers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rig.private_redis import start_redis
from sections.section import Sample, Section

__all__ = ["RESULTS", "Run", "describe_setting", "read", "write"]

RESULTS = Path(__file__).resolve().parents[1] / "results"
_PACKAGES = (
    *("celery", "kombu", "billiard", "redis", "hiredis", "msgspec"),
    *("huey", "dramatiq", "taskiq", "taskiq-redis", "rq"),
)


@dataclass(frozen=True)
class Run:
    """What one section gave."""

    setting: Mapping[str, Any]
    samples: Sequence[Sample]
    #: What could not be measured, and why.
    failures: Sequence[str] = ()


def describe_setting(options: dict[str, Any]) -> dict[str, Any]:
    """Return what somebody needs to know to compare the numbers with others."""
    with start_redis() as redis:
        redis_version = redis.version
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _first_value("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _first_value("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "redis": redis_version,
        "packages": {name: version(name) for name in _PACKAGES},
        "options": options,
    }


def write(folder: Path, section: Section, run: Run) -> None:
    """Write the section's file, replacing what it held."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "section": section.name,
        "setting": run.setting,
        "failures": list(run.failures),
        "samples": [asdict(sample) for sample in run.samples],
    }
    (folder / f"{section.name}.json").write_text(json.dumps(content, indent=1) + "\n")


def read(folder: Path, name: str) -> Run | None:
    """Return what the section's file holds, None if there is no such file."""
    file = folder / f"{name}.json"
    if not file.exists():
        return None
    content = json.loads(file.read_text())
    samples = [Sample(**sample) for sample in content["samples"]]
    return Run(content["setting"], samples, content["failures"])


def _commit() -> str:
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip() or "unknown"


def _first_value(file: str, key: str) -> str:
    lines = [line.partition(":") for line in Path(file).read_text().splitlines()]
    return next((value.strip() for name, _, value in lines if name.strip() == key), "unknown")
