"""A table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["table"]


def table(headings: Iterable[str], rows: Iterable[list[str]]) -> str:
    """Return the rows under their headings; short ones are filled up."""
    named = list(headings)
    lines = [named, ["---"] * len(named), *(row + [""] * (len(named) - len(row)) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
