"""Writes the table of docs/howto/django-outbox.md from the raw numbers, so that none is typed by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from outbox_parts.table import render  # noqa: E402

DOCUMENT = ROOT / "docs" / "howto" / "django-outbox.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail if the table is another one.")
def main(check: bool) -> None:
    """Replace the table by that of the last measurements."""
    if check:
        if filled(DOCUMENT.read_text()) != DOCUMENT.read_text():
            raise click.ClickException(f"run {Path(__file__).name}: {DOCUMENT.name} has other figures")
        return
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))
    click.echo(f"Filled in {DOCUMENT.name}")


def filled(text: str) -> str:
    """Return the document with the table of the figures that are kept."""
    outbox, tasks = (json.loads((RESULTS / name).read_text()) for name in _FILES)
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    return f"{head}{begin}\n\n{render(outbox, tasks)}\n\n{end}{tail}"


_FILES = ("outbox.json", "django-connections.json")

if __name__ == "__main__":
    main()
