"""Cells, each in a process and on servers of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from tests.django.matrix.outages import offered
from tests.django.matrix.places import Place, place
from tests.workers import ROOT

__all__ = ["PEERS", "Cell", "run_cell"]

#: The environment in which others are run, without Celeriac.
PEERS = ROOT / ".venv-outbox" / "bin" / "python"
#: Seconds for which everything may take longer than it is given for killing.
_PATIENCE = 240.0


@dataclass(frozen=True)
class Cell:
    """What is under test, and on what."""

    #: "celeriac", or one of those it is compared with.
    kind: str
    #: "postgres", "mariadb" or "sqlite".
    database: str
    #: "redis", "rabbitmq" or "sqlite".
    broker: str
    #: Whether the worker relays.
    embedded: bool = False

    def __str__(self) -> str:
        place = ", relay in the worker" if self.embedded else ""
        return f"{self.kind}, {self.database}, {self.broker}{place}"


def run_cell(
    cell: Cell,
    runs: int,
    seed: int,
    *,
    seconds: float = 3600.0,
    only: Sequence[str] = (),
    stopped: Event | None = None,
) -> dict[str, Any]:
    """Make so many runs of each step, or fewer if the time is over; return what came of them.

    Raises RuntimeError with what the processes have said if the cell fails, or is ``stopped``.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-matrix-")))
        where = stack.enter_context(place(cell.database, cell.broker, folder))
        line, told = stack.enter_context(offered(where.servers))
        (folder / "traps").mkdir()
        python = sys.executable if cell.kind == "celeriac" else str(PEERS)
        arguments = [folder / "result", str(runs), str(seed), str(seconds)]
        log = stack.enter_context((folder / "cell.log").open("wb"))
        process = subprocess.Popen(
            [python, "-m", "tests.django.matrix.cell", *arguments],
            cwd=ROOT,
            env={**os.environ, **_environment(cell, folder, where), **told, "STEPS": json.dumps(list(only))},
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[line],
        )
        _wait(process, seconds + _PATIENCE, stopped or Event())
        if process.returncode != 0:
            said = "\n".join(f"{one.name}: {one.read_text()[-3000:]}" for one in folder.glob("*.log"))
            raise RuntimeError(f"{cell}, seed {seed}: {said}")
        result: dict[str, Any] = json.loads((folder / "result").read_text())
        return result


def _wait(process: subprocess.Popen[bytes], seconds: float, stopped: Event) -> None:
    """Return once it has ended, by force if it is stopped or takes longer."""
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        if stopped.is_set() or time.monotonic() > deadline:
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def _environment(cell: Cell, folder: Path, where: Place) -> dict[str, str]:
    return {
        "KIND": cell.kind,
        "DATABASE": json.dumps(where.database),
        "BROKER": where.broker,
        "SERVERS": json.dumps(sorted(where.servers)),
        "LEDGER": str(folder / "ledger"),
        "TRAPS": str(folder / "traps"),
        "EMBEDDED": str(int(cell.embedded)),
        "TMPDIR": str(folder),
        "PYTHONWARNINGS": "ignore",
    }
