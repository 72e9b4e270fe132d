"""Quantiles of a list."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

__all__ = ["quantile"]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
