"""The tables of the crash matrix: by database and broker, by step, by other faults, and others beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from tests.django.matrix.faults import OUTAGES, STOPPED
from tests.guarantees.table import table

__all__ = ["Cell", "Matrix", "Step", "matrix_tables"]

_NAMES = {"postgres": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite", "redis": "Redis"}
_NAMES |= {"rabbitmq": "RabbitMQ"}
_KINDS = {
    "celeriac": "Celeriac: outbox and inbox",
    "delay": "`.delay()` in the transaction",
    "delay_on_commit": "`.delay_on_commit()`",
    "django-celery-outbox": "django-celery-outbox",
}
_BROKEN = ("lost", "orphans", "not_once", "inversions")


class Step(msgspec.Struct):
    """What came of all runs in which somebody was at this step when it happened."""

    runs: int
    committed: int
    repeated: int
    lost: int
    not_once: int
    orphans: int
    inversions: int

    @property
    def broken(self) -> int:
        return self.lost + self.not_once + self.orphans + self.inversions


class Cell(msgspec.Struct):
    """Runs of one seed on one database and one broker."""

    kind: str
    database: str
    broker: str
    relay: str
    seed: int
    date: str
    commit: str
    dead: list[str]
    missed: list[str]
    steps: dict[str, Step]


class Matrix(msgspec.Struct):
    cells: list[Cell]


def matrix_tables(matrix: Matrix | None) -> str:
    """Everything in Markdown; what was not run yet is said."""
    if matrix is None:
        return "`make crash-matrix`: not yet"
    ours = [cell for cell in matrix.cells if cell.kind == "celeriac"]
    return "\n\n".join(filter(None, [_places(ours), _steps(ours), _faults(ours), _kinds(matrix.cells)]))


def _places(cells: Sequence[Cell]) -> str:
    headings = ("database", "broker", "made", "seeds", "runs", *_HEADINGS)
    rows = []
    for database, broker in sorted({(cell.database, cell.broker) for cell in cells}):
        some = [cell for cell in cells if (cell.database, cell.broker) == (database, broker)]
        seeds = ", ".join(str(cell.seed) for cell in sorted(some, key=lambda cell: cell.seed))
        rows.append([_NAMES[database], _NAMES[broker], _made(some), seeds, *_figures(some)])
    return table(headings, rows)


def _steps(cells: Sequence[Cell]) -> str:
    """Somebody was killed, at each step."""
    rows = _by_worker(cells, lambda step: step if _fault(step) is None else None)
    return table(("killed", "kills, with the engine", "kills, with Celery's worker", "all promises"), rows)


def _faults(cells: Sequence[Cell]) -> str:
    """Something else happened, wherever somebody was."""
    rows = _by_worker(cells, _fault)
    headings = ("happened meanwhile", "with the engine", "with Celery's worker", "all promises")
    return table(headings, rows) if rows else ""


def _by_worker(cells: Sequence[Cell], named: Callable[[str], str | None]) -> list[list[str]]:
    """Add up what has the same name; None: it does not count here."""
    found: dict[str, Counter[str]] = {}
    for cell in cells:
        worker = "stock" if cell.broker == "rabbitmq" else "engine"
        for key, step in cell.steps.items():
            if (name := named(key)) is not None:
                counts = found.setdefault(name, Counter())
                counts[worker] += step.runs
                counts["broken"] += step.broken
    return [
        [
            name,
            *(f"{counts[worker]:,}" if counts[worker] else "" for worker in ("engine", "stock")),
            "**broken**" if counts["broken"] else "kept",
        ]
        for name, counts in sorted(found.items())
    ]


def _fault(step: str) -> str | None:
    """Return what happened while somebody was at a step like ``relay claimed (broker killed)``."""
    where, _, fault = step.removesuffix(")").partition(" (")
    role = where.partition(" ")[0]
    if fault == STOPPED:
        return f"the {role} was stopped while it published, and went on later"
    return f"the {fault.replace(' ', ' was ')}, while a {role} was at work" if fault in OUTAGES else None


def _kinds(cells: Sequence[Cell]) -> str:
    """The others, and what was run where they were; they meet no other faults."""
    places = {(cell.database, cell.broker) for cell in cells if cell.kind != "celeriac"}
    rows = []
    for kind, name in _KINDS.items():
        some = [cell for cell in cells if cell.kind == kind and (cell.database, cell.broker) in places]
        if some:
            rows.append([name, _made(some), *_figures(some, kills_only=True)])
    return table(("a call is made with", "made", "kills", *_HEADINGS), rows)


#: What is counted, with its name in the tables.
_HEADINGS = ("committed", "delivered again", "lost", "orphans", "effect not once", "inversions")


def _figures(cells: Iterable[Cell], *, kills_only: bool = False) -> list[str]:
    named = [(name, step) for cell in cells for name, step in cell.steps.items()]
    steps = [step for name, step in named if not (kills_only and _fault(name))]

    def total(of: Callable[[Step], int]) -> str:
        return f"{sum(map(of, steps)):,}"

    broken = [total(lambda step, what=what: getattr(step, what)) for what in _BROKEN]  # type: ignore[misc]
    return [total(lambda step: step.runs), total(lambda step: step.committed), total(_repeated), *broken]


def _repeated(step: Step) -> int:
    return step.repeated


def _made(cells: Iterable[Cell]) -> str:
    """When, and on which commits: figures of several runs are added up."""
    in_turn = sorted(cells, key=lambda cell: cell.date)
    commits = ", ".join(dict.fromkeys(cell.commit for cell in in_turn))
    return f"{in_turn[-1].date[:10]}, commit {commits}"
