"""Cells, each in a process and a database of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pymysql

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
    #: A name, and Django's settings for it; None: SQLite.
    database: str
    options: dict[str, Any] | None
    #: A name and a URL; an empty one: SQLite.
    broker: str
    url: str
    #: Whether the worker relays.
    embedded: bool = False

    def __str__(self) -> str:
        place = ", relay in the worker" if self.embedded else ""
        return f"{self.kind}, {self.database}, {self.broker}{place}"


def run_cell(
    cell: Cell, runs: int, seed: int, *, seconds: float = 3600.0, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Make so many runs of each step, or fewer if the time is over; return what came of them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-matrix-")))
        options = stack.enter_context(_database(cell, folder))
        (folder / "traps").mkdir()
        python = sys.executable if cell.kind == "celeriac" else str(PEERS)
        arguments = [folder / "result", str(runs), str(seed), str(seconds)]
        done = subprocess.run(
            [python, "-m", "tests.django.matrix.cell", *arguments],
            cwd=ROOT,
            env={**os.environ, **_environment(cell, folder, options), "STEPS": json.dumps(list(only))},
            check=False,
            timeout=seconds + _PATIENCE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode != 0:
            logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in folder.glob("*.log"))
            raise RuntimeError(f"{cell}: {done.stdout.decode(errors='replace')[-3000:]}\n{logs}")
        result: dict[str, Any] = json.loads((folder / "result").read_text())
        return result


def _environment(cell: Cell, folder: Path, options: dict[str, Any]) -> dict[str, str]:
    unique = uuid.uuid4().hex[:8]
    prefix = {"global_keyprefix": f"{unique}:"} if cell.broker == "redis" else {}
    return {
        "KIND": cell.kind,
        "DATABASE": json.dumps(options),
        "BROKER": cell.url or f"sqlite:///{folder}/broker.db",
        "TRANSPORT_OPTIONS": json.dumps(prefix),
        "QUEUE": unique,
        "LEDGER": str(folder / "ledger"),
        "TRAPS": str(folder / "traps"),
        "EMBEDDED": str(int(cell.embedded)),
        "TMPDIR": str(folder),
        "PYTHONWARNINGS": "ignore",
    }


@contextmanager
def _database(cell: Cell, folder: Path) -> Iterator[dict[str, Any]]:
    """A new database for the time of the block."""
    if cell.options is None:
        yield {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(folder / "shop.db"),
            "OPTIONS": {"timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
        }
        return
    name = f"matrix_{uuid.uuid4().hex[:8]}"
    _execute(cell.options, f"CREATE DATABASE {name}")
    try:
        yield {**cell.options, "NAME": name}
    finally:
        forced = " WITH (FORCE)" if "postgresql" in cell.options["ENGINE"] else ""
        _execute(cell.options, f"DROP DATABASE {name}{forced}")


def _execute(options: dict[str, Any], statement: str) -> None:
    place = {"host": options["HOST"], "port": int(options["PORT"]), "user": options["USER"]}
    if "postgresql" in options["ENGINE"]:
        with psycopg.connect(**place, dbname=options["NAME"], autocommit=True) as connection:
            connection.execute(statement.encode())
        return
    with pymysql.connect(**place, password=options["PASSWORD"]) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
