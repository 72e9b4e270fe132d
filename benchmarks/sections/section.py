"""A section: how it is measured, how long that takes, and how its table reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from contenders.lineup import Contender

__all__ = ["Column", "Effort", "Sample", "Section"]


@dataclass(frozen=True)
class Effort:
    """How much a run asks for: all of it, or a tenth to see that it works."""

    scale: float = 1.0

    def seconds(self, full: float) -> float:
        return full * self.scale

    def count(self, full: int, least: int = 20) -> int:
        return max(least, round(full * self.scale))


@dataclass(frozen=True)
class Sample:
    """What one measurement of one contender in one round gave; durations in seconds, memory in bytes."""

    contender: str
    round: int
    #: What was varied within the section, such as ``results off``.
    variant: str
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A value in a table."""

    heading: str
    key: str
    #: As in ``format``.
    form: str = ",.0f"
    factor: float = 1.0


Measure = Callable[[Contender, int, Effort], Iterator[Sample]]
MeasureAll = Callable[[Sequence[Contender], int, Effort], Iterator[Sample]]


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    #: What its numbers are and are not, in one sentence.
    note: str
    #: The first column is the one that is compared.
    columns: tuple[Column, ...]
    #: Seconds that one contender takes in one round, for the progress bar.
    seconds: float
    measure: Measure | None = None
    #: For what is measured of all contenders at the same time.
    measure_all: MeasureAll | None = None
    #: More rounds than that would show nothing new.
    most_rounds: int = 100
    #: Who takes part, by name; all if none is named.
    only: tuple[str, ...] = ()

    def admits(self, contender: Contender) -> bool:
        named_here = not self.only or contender.name in self.only
        return named_here and (not contender.sections or self.name in contender.sections)
