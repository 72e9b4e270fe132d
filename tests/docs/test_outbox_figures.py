"""The figures in the document on the outbox are those that were measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "outbox_report.py"


def test_the_table_is_made_from_the_raw_figures() -> None:
    done = subprocess.run([sys.executable, PROGRAM, "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
