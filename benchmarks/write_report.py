"""Writes the tables of docs/performance.md from the raw numbers, so that no figure is typed by hand."""

from __future__ import annotations

from pathlib import Path

import click

from report.document import fill, render
from report.files import RESULTS, read
from sections.all import SECTIONS

_DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


@click.command(context_settings={"show_default": True})
@click.option("--folder", type=click.Path(path_type=Path), default=RESULTS, help="Where raw numbers lie.")
@click.option("--document", type=click.Path(path_type=Path), default=_DOCUMENT, help="What is filled in.")
def main(folder: Path, document: Path) -> None:
    """Replace the tables in the document by those of the last measurements.

    Example: python benchmarks/write_report.py
    """
    fill(document, render([(section, read(folder, section.name)) for section in SECTIONS]))
    click.echo(f"Filled in {document.name}")


if __name__ == "__main__":
    main()
