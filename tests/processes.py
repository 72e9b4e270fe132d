"""What the kernel says of processes that are not our own children."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["lives"]


def lives(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
