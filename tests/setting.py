"""The setting in which a long run was made, kept with its figures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["commit", "write_run"]


def write_run(file: Path, options: dict[str, Any], figures: dict[str, Any]) -> None:
    """Write options, machine and figures as JSON, replacing the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_the_end": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "options": options,
    }
    file.write_text(json.dumps({"setting": setting, **figures}, indent=1) + "\n")


def commit() -> str:
    """What is checked out, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    git = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return git.stdout.strip() or "unknown"
