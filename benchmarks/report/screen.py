"""The tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from report.grid import grids
from sections.section import Sample, Section

__all__ = ["print_tables"]


def print_tables(console: Console, section: Section, samples: Sequence[Sample]) -> None:
    """Print one table for each variant, and what the numbers mean."""
    for grid in grids(section, samples):
        table = Table(title=grid.title, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("", no_wrap=True)
        for heading in grid.headings[1:]:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)
    console.print(section.note, style="dim")
