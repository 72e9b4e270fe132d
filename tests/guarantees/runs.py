"""The figures of the last long runs, as they were written down."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from tests.guarantees.ends import Ends
from tests.guarantees.matrix import Matrix
from tests.soak.trend import Finding

__all__ = ["RESULTS", "Chaos", "Runs", "Setting", "Simulation", "Soak"]

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"

RunT = TypeVar("RunT")


class Options(msgspec.Struct):
    """What a run was told; each kind of run has some of these."""

    seed: int = 0
    first: int = 0
    schedules: int = 0
    minutes: float = 0.0


class Setting(msgspec.Struct):
    date: str
    commit: str
    options: Options


class Chaos(msgspec.Struct):
    """Faults met by real processes."""

    setting: Setting
    met: int
    met_by_step: dict[str, dict[str, int]]
    accepted: int
    repeated: int
    lost: list[str]
    beyond: list[str]
    stuck: list[str]
    unexpected: list[str]

    @property
    def kept(self) -> bool:
        return not (self.lost or self.beyond or self.stuck or self.unexpected)

    def of_fault(self, fault: str) -> int:
        """How often this fault was met, whatever the step."""
        return sum(faults.get(fault, 0) for faults in self.met_by_step.values())

    def at_step(self, step: str) -> int:
        """How many faults were met before and after this step."""
        return sum(sum(self.met_by_step.get(f"{step} {when}", {}).values()) for when in ("before", "after"))


class Simulation(msgspec.Struct):
    """Schedules in virtual time."""

    setting: Setting
    schedules: int
    messages: int
    repeats: int
    injected: dict[str, int]
    violations: dict[str, object]

    @property
    def kept(self) -> bool:
        return not self.violations


class Soak(msgspec.Struct):
    """A mixed load; ``beyond`` and the like are keys of tasks."""

    setting: Setting
    shards_killed: int
    shards_recycled: int
    accepted: int
    repeated: int
    lost: list[str]
    beyond: list[str]
    wrong: list[str]
    findings: list[Finding]


class Runs(msgspec.Struct):
    """One run of each kind, None if there was none yet."""

    chaos: dict[str, Chaos | None]
    soak: dict[str, Soak | None]
    simulation: Simulation | None
    matrix: Matrix | None
    ends: Ends | None

    @classmethod
    def read(cls, folder: Path = RESULTS) -> Runs:
        """Read what lies in the folder."""
        return cls(
            {
                "Redis": _read(folder / "chaos.json", Chaos),
                "SQLite": _read(folder / "chaos-sqlite.json", Chaos),
            },
            {
                "Redis": _read(folder / "soak.json", Soak),
                "SQLite": _read(folder / "soak-sqlite.json", Soak),
            },
            _read(folder / "simulation.json", Simulation),
            _read(folder / "crash-matrix.json", Matrix),
            _read(folder / "terminations.json", Ends),
        )


def _read(file: Path, kind: type[RunT]) -> RunT | None:
    return msgspec.json.decode(file.read_bytes(), type=kind) if file.exists() else None
