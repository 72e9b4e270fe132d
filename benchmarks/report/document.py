"""The tables in a Markdown document, between two markers that nobody else writes between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from report.files import Run
from report.grid import Grid, grids
from sections.section import Section

__all__ = ["BEGIN", "END", "fill", "render"]

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"


def fill(document: Path, text: str) -> None:
    """Replace what stands between the markers."""
    head, begin, rest = document.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} lacks {BEGIN} or {END}")
    document.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}")


def render(runs: Sequence[tuple[Section, Run | None]]) -> str:
    """Return the tables of all sections; those without numbers are named."""
    return "\n\n".join(part for section, run in runs for part in _parts(section, run))


def _parts(section: Section, run: Run | None) -> Iterator[str]:
    yield f"### {section.title}"
    if run is None or not run.samples:
        yield f'Not measured yet: `make bench ARGS="--section {section.name}"`.'
        return
    yield f"{section.note} {_made_in(run)}"
    for grid in grids(section, run.samples):
        yield f"**{grid.variant}**"
        yield _table(grid)
    yield from (f"Not measured: {failure.splitlines()[0]}" for failure in run.failures)


def _made_in(run: Run) -> str:
    setting = run.setting
    rounds = setting["options"]["rounds"]
    return (
        f"{setting['date'][:10]}, commit {setting['commit']}, {setting['cpu']} with {setting['cores']} cores,"
        f" Python {setting['python']}, Redis {setting['redis']}, {rounds} rounds."
    )


def _table(grid: Grid) -> str:
    lines = [grid.headings, ["---", *["--:"] * (len(grid.headings) - 1)], *grid.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
