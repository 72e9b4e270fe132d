"""Amounts of cores and memory as Kubernetes writes them."""

from __future__ import annotations

import re

__all__ = ["cores", "mebibytes"]

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)")
_MIB = 1024.0**2
_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BYTES = _DECIMAL | {"Ki": 1024.0, "Mi": _MIB, "Gi": 1024.0**3, "Ti": 1024.0**4}


def cores(quantity: str | float) -> float:
    """Return the cores that ``2``, ``"2"`` or ``"500m"`` stands for; raise ValueError for anything else."""
    number, unit = _parts(quantity)
    if unit not in ("", "m"):
        raise ValueError(f"{quantity!r} is no number of cores: write 2, 0.5 or 500m")
    return number / 1000 if unit == "m" else number


def mebibytes(quantity: str | float) -> float:
    """Return the MiB that ``"2Gi"`` or ``"512Mi"`` stands for; raise ValueError for anything else."""
    number, unit = _parts(quantity)
    if unit not in _BYTES:
        raise ValueError(f"{quantity!r} is no amount of memory: write 512Mi or 2Gi")
    return number * _BYTES[unit] / _MIB


def _parts(quantity: str | float) -> tuple[float, str]:
    match = _AMOUNT.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f"{quantity!r} is no amount: write 2, 500m, 512Mi or 2Gi")
    return float(match[1]), match[2]
