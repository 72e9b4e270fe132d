"""What a process holds at a moment, as the kernel tells it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

__all__ = ["Vitals", "look"]

_TICKS = os.sysconf("SC_CLK_TCK")


class Vitals(msgspec.Struct, frozen=True):
    """Memory in KiB."""

    #: Pages of its own making, whoever shares them: what a leak makes grow, and siblings do not change.
    anonymous: int
    #: Everything in memory, pages of program files included.
    resident: int
    #: The same, each shared page divided among those who share it.
    proportional: int
    descriptors: int
    threads: int
    #: Seconds of processor time so far, with those of its children that have ended.
    processor: float


def look(pid: int) -> Vitals | None:
    """Return what the process holds; None once it has ended, or while it is ending."""
    folder = Path(f"/proc/{pid}")
    try:
        status = _fields((folder / "status").read_text())
        rollup = _fields((folder / "smaps_rollup").read_text())
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        descriptors = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return None
    if "RssAnon" not in status or "Pss" not in rollup:
        return None
    return Vitals(
        anonymous=status["RssAnon"] + status["VmSwap"],
        resident=status["VmRSS"],
        proportional=rollup["Pss"],
        descriptors=descriptors,
        threads=status["Threads"],
        processor=sum(map(int, stat[11:15])) / _TICKS,
    )


def _fields(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"^(\w+):\s+(\d+)", text, re.MULTILINE)}
