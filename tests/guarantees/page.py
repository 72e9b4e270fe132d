"""The part of docs/guarantees.md that is made of figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.chaos.campaign import STEPS
from tests.guarantees.ends import ends_tables
from tests.guarantees.matrix import matrix_tables
from tests.guarantees.runs import Chaos, Runs, Setting, Simulation, Soak
from tests.guarantees.table import table

__all__ = ["DOCUMENT", "filled_in", "text"]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
_RUNS = ("<!-- last runs: begin -->", "<!-- last runs: end -->")
_MATRIX = ("<!-- crash matrix: begin -->", "<!-- crash matrix: end -->")
_ENDS = ("<!-- ends of pods: begin -->", "<!-- ends of pods: end -->")
_NOT_YET = "not yet"

#: What befalls whom; which promise it puts to the test; its names in the campaign and in the simulation.
_FAULTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "`SIGKILL` of one process: a shard, a supervisor, a producer",
        "accepted means kept; a killed shard's messages return at once; early acks do not start twice",
        "kill process",
        ("kill process", "kill shard", "kill supervisor"),
    ),
    ("A process grows by 100 MiB and is killed, as when memory runs out", "the same", "out of memory", ()),
    (
        "`SIGKILL` of a whole node at once",
        "its messages return after a lease's time",
        "kill node",
        ("kill node",),
    ),
    (
        "`SIGSTOP` of one process for 2.5 leases, then `SIGCONT`",
        "a running task keeps its lease; fencing",
        "stop process",
        ("pause process",),
    ),
    (
        "`SIGSTOP` of a whole node for 2.5 leases, then `SIGCONT`",
        "fencing: it settles nothing that others have taken over",
        "stop node",
        ("pause node",),
    ),
    (
        "The broker is killed and started again",
        "nothing is lost; what has finished is settled, not run again",
        "restart broker",
        ("broker outage",),
    ),
    (
        "The answer of the broker is lost, or late",
        "no message is taken and forgotten",
        "",
        ("lost answer", "lost answers", "slow broker"),
    ),
    ("A clock is wrong, or steps", "leases and due times follow the broker's clock", "", ("clock step",)),
    ("The result store is away", "a task is acked after its result is stored", "", ("result store outage",)),
    (
        "A worker is told to end, warm or cold",
        "what has not started goes back uncounted",
        "",
        ("warm stop", "cold stop"),
    ),
    ("Somebody settles for an owner that is dead", "fencing", "", ("request of the dead",)),
)


def filled_in(document: str, runs: Runs) -> str:
    """Return the document with what stands between its markers replaced."""
    parts = {_RUNS: text(runs), _MATRIX: matrix_tables(runs.matrix), _ENDS: ends_tables(runs.ends)}
    for markers, figures in parts.items():
        document = _replaced(document, markers, figures)
    return document


def _replaced(document: str, markers: tuple[str, str], figures: str) -> str:
    head, begin, rest = document.partition(markers[0])
    _, end, tail = rest.partition(markers[1])
    if not begin or not end:
        raise ValueError(f"the document lacks {markers[0]} or {markers[1]}")
    return f"{head}{begin}\n\n{figures}\n\n{end}{tail}"


def text(runs: Runs) -> str:
    """What the runs showed, in Markdown."""
    return "\n\n".join([_totals(runs), _faults(runs), _steps(runs), _growth(runs)])


def _totals(runs: Runs) -> str:
    headings = (
        *("run", "made", "seeds", "faults", "tasks", "repeated as promised"),
        *("lost", "repeated beyond it", "stuck", "unexpected"),
    )
    rows = [*_chaos_totals(runs), _simulation_total(runs.simulation), *_soak_totals(runs)]
    return table(headings, rows)


def _chaos_totals(runs: Runs) -> Iterator[list[str]]:
    for broker, chaos in runs.chaos.items():
        name = f"`make chaos`, {broker}"
        if chaos is None:
            yield [name, _NOT_YET]
            continue
        broken = (chaos.lost, chaos.beyond, chaos.stuck, chaos.unexpected)
        figures = (chaos.met, chaos.accepted, chaos.repeated - len(chaos.beyond), *map(len, broken))
        yield [name, _made(chaos.setting), str(chaos.setting.options.seed), *(f"{n:,}" for n in figures)]


def _simulation_total(simulation: Simulation | None) -> list[str]:
    name = "`make simulate`, virtual time"
    if simulation is None:
        return [name, _NOT_YET]
    first = simulation.setting.options.first
    seeds = f"{first} to {first + simulation.schedules - 1}"
    faults = sum(simulation.injected.values())
    figures = (faults, simulation.messages, simulation.repeats, 0, 0, 0, len(simulation.violations))
    return [name, _made(simulation.setting), seeds, *(f"{n:,}" for n in figures)]


def _soak_totals(runs: Runs) -> Iterator[list[str]]:
    for broker, soak in runs.soak.items():
        name = f"`make soak`, {broker}"
        if soak is None:
            yield [name, _NOT_YET]
            continue
        stuck = [what for what in soak.wrong if what.startswith("stuck")]
        broken = (soak.lost, soak.beyond, stuck, [what for what in soak.wrong if what not in stuck])
        figures = (soak.shards_killed, soak.accepted, soak.repeated, *map(len, broken))
        yield [name, _made(soak.setting), str(soak.setting.options.seed), *(f"{n:,}" for n in figures)]


def _faults(runs: Runs) -> str:
    headings = ("fault", "guarantee", *(f"chaos, {broker}" for broker in runs.chaos), "simulated")
    rows = []
    for fault, guarantee, met, injected in _FAULTS:
        cells = [_met(chaos, met) for chaos in runs.chaos.values()]
        rows.append([fault, guarantee, *cells, _injected(runs.simulation, injected)])
    return table(headings, rows)


def _met(chaos: Chaos | None, fault: str) -> str:
    if chaos is None or not fault:
        return ""
    return _times(chaos.of_fault(fault), kept=chaos.kept)


def _injected(simulation: Simulation | None, faults: Iterable[str]) -> str:
    if simulation is None:
        return ""
    return _times(sum(simulation.injected.get(fault, 0) for fault in faults), kept=simulation.kept)


def _times(number: int, *, kept: bool) -> str:
    return f"{number:,}, {'kept' if kept else '**broken**'}" if number else ""


def _steps(runs: Runs) -> str:
    headings = ("faults met right before or after", *STEPS)
    rows = [
        [broker, *(f"{chaos.at_step(step):,}" for step in STEPS)]
        for broker, chaos in runs.chaos.items()
        if chaos is not None
    ]
    return table(headings, rows)


def _growth(runs: Runs) -> str:
    headings = (
        "soak",
        "minutes",
        "shards killed",
        "recycled",
        "what",
        "grew most in",
        "growth",
        "limit",
        "flat",
    )
    rows = []
    for broker, soak in runs.soak.items():
        if soak is not None:
            rows += list(_worst(broker, soak))
    return table(headings, rows)


def _worst(broker: str, soak: Soak) -> Iterator[list[str]]:
    """Of each quantity the part that has grown the most."""
    told = [broker, f"{soak.setting.options.minutes:g}", f"{soak.shards_killed}", f"{soak.shards_recycled}"]
    names = {"memory": "memory of one part", "shared out": "memory of both workers"}
    for quantity in dict.fromkeys(finding.quantity for finding in soak.findings):
        some = [finding for finding in soak.findings if finding.quantity == quantity]
        worst = max(some, key=lambda finding: finding.growth)
        unit = {"memory": " KiB an hour", "shared out": " KiB an hour", "keys": " an hour"}.get(quantity, "")
        flat = {True: "yes", False: "**no**", None: "too short"}[worst.flat]
        growth = (f"{worst.growth:{'+,.0f' if unit else '+g'}}{unit}", f"{worst.limit:,.0f}{unit}", flat)
        yield [*told, names.get(quantity, quantity), worst.part, *growth]


def _made(setting: Setting) -> str:
    return f"{setting.date[:10]}, commit {setting.commit}"
