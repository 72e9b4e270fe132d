"""The rows of a section's tables, whoever prints them: medians, spreads, and ratios of the same round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from sections.section import Column, Sample, Section

__all__ = ["Grid", "grids"]

#: Who the others are compared with.
_OURS = "celeriac"


@dataclass(frozen=True)
class Grid:
    """One table: of one variant of one section."""

    title: str
    variant: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def grids(section: Section, samples: Sequence[Sample]) -> Iterator[Grid]:
    """Yield a table for each variant; the last column divides Celeriac's first value by the row's own."""
    for variant in dict.fromkeys(sample.variant for sample in samples):
        mine = [sample for sample in samples if sample.variant == variant]
        names = list(dict.fromkeys(sample.contender for sample in sorted(mine, key=_place)))
        compared = _OURS in names and len(names) > 1
        headings = [column.heading for column in section.columns]
        yield Grid(
            title=f"{section.title}: {variant}",
            variant=variant,
            headings=["", *headings, *(["celeriac / it"] if compared else [])],
            rows=[list(_row(section.columns, mine, name, compared=compared)) for name in names],
        )


def _place(sample: Sample) -> bool:
    """Ours last, the others as they were measured."""
    return sample.contender.startswith(_OURS)


def _row(columns: Sequence[Column], samples: Sequence[Sample], name: str, *, compared: bool) -> Iterator[str]:
    own = [sample for sample in samples if sample.contender == name]
    yield name
    for column in columns:
        yield _spread([column.factor * sample.values[column.key] for sample in own], column.form)
    if compared:
        key = columns[0].key
        ours = {sample.round: sample.values[key] for sample in samples if sample.contender == _OURS}
        ratios = [
            ours[sample.round] / sample.values[key]
            for sample in own
            if sample.round in ours and sample.values[key]
        ]
        yield _spread(ratios, ".2f") if ratios else ""


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (format(value, form) for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} - {high})"
