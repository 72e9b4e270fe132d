"""All cells, as often as asked: ``python -m tests.django.matrix --runs 3``."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from tests.django.matrix.campaign import Cell, run_cell
from tests.django.matrix.verdict import BROKEN
from tests.django.servers import mariadb_server, postgres_server, rabbitmq_server
from tests.servers import redis_server
from tests.setting import commit, write_run

_DATABASES = ("postgres", "mariadb", "sqlite")
_BROKERS = ("redis", "sqlite", "rabbitmq")
_KINDS = ("celeriac", "delay", "delay_on_commit", "django-celery-outbox")


@click.command(context_settings={"show_default": True})
@click.option("--runs", default=3, type=click.IntRange(min=1), help="Of each step in each cell.")
@click.option("--seconds", default=3600.0, help="At most so many are spent on killing in each cell.")
@click.option("--seed", default=1, type=click.IntRange(min=0), help="Decides order and time of all kills.")
@click.option("--database", "databases", multiple=True, type=click.Choice(_DATABASES), default=_DATABASES)
@click.option("--broker", "brokers", multiple=True, type=click.Choice(_BROKERS), default=_BROKERS)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), default=("celeriac",))
@click.option("--relay", default="own", type=click.Choice(["own", "worker"]), help="In which process it is.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where figures are added to others.")
def main(
    runs: int,
    seconds: float,
    seed: int,
    databases: tuple[str, ...],
    brokers: tuple[str, ...],
    kinds: tuple[str, ...],
    relay: str,
    file: Path | None,
) -> None:
    """Kill producers, relays and workers at every step, on every pair of database and broker.

    Example: python -m tests.django.matrix --runs 10 --seed 7 --database postgres --broker redis
    """
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    broken = 0
    with ExitStack() as stack:
        places = _start(stack, databases, brokers)
        for cell in _cells(kinds, databases, brokers, places, embedded=relay == "worker"):
            result = run_cell(cell, runs, seed, seconds=seconds)
            totals = _totals(result)
            console.print(f"{cell}: {totals} in {result['seconds']:g} s", markup=False)
            _print_broken(console, result)
            if file is not None:
                _add(file, cell, seed, runs, result)
            broken += cell.kind == "celeriac" and any(totals[what] for what in BROKEN)
    sys.exit(1 if broken else 0)


def _start(stack: ExitStack, databases: Iterable[str], brokers: Iterable[str]) -> dict[str, Any]:
    servers = {
        "postgres": postgres_server,
        "mariadb": mariadb_server,
        "redis": lambda: redis_server(),
        "rabbitmq": rabbitmq_server,
    }
    found: dict[str, Any] = {}
    for name in {*databases, *brokers} & servers.keys():
        server = stack.enter_context(servers[name]())
        found[name] = server.url if name == "redis" else server
    return found


def _cells(
    kinds: Iterable[str],
    databases: Iterable[str],
    brokers: Iterable[str],
    places: dict[str, Any],
    *,
    embedded: bool,
) -> list[Cell]:
    return [
        Cell(
            kind,
            database,
            places.get(database) if database != "sqlite" else None,
            broker,
            places[broker] if broker != "sqlite" else "",
            embedded,
        )
        for kind in kinds
        for database in databases
        for broker in brokers
        if kind == "celeriac" or broker != "sqlite"
    ]


def _totals(result: dict[str, Any]) -> Counter[str]:
    totals: Counter[str] = Counter({"runs": 0, **dict.fromkeys(BROKEN, 0)})
    for step in result["steps"].values():
        totals.update({name: step[name] for name in ("runs", "committed", "repeated", *BROKEN)})
    return totals


def _print_broken(console: Console, result: dict[str, Any]) -> None:
    for step, figures in result["steps"].items():
        if "examples" in figures:
            console.print(f"  {step}: {figures['examples']}", markup=False)
    for what in (*result["missed"], *result["dead"]):
        console.print(f"  {what}", markup=False)


def _add(file: Path, cell: Cell, seed: int, runs: int, result: dict[str, Any]) -> None:
    """Put the cell's figures in the file, in place of those of the same cell and seed."""
    head = {
        "kind": cell.kind,
        "database": cell.database,
        "broker": cell.broker,
        "relay": "worker" if cell.embedded else "own",
        "seed": seed,
    }
    others = msgspec.json.decode(file.read_bytes())["cells"] if file.exists() else []
    cells = [one for one in others if {name: one[name] for name in head} != head]
    made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
    write_run(file, {"runs": runs, "seed": seed}, {"cells": [*cells, {**head, **made, **result}]})


if __name__ == "__main__":
    main()
