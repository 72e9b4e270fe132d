"""What the outbox costs a transaction, how soon calls are at the broker, and how fast a relay is.

Everything in one run, on a private PostgreSQL and Redis on this machine; django-celery-outbox too.

    .venv/bin/python benchmarks/outbox.py --orders 500 --rows 50000
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.setting import write_run  # noqa: E402

from outbox_parts.latency import measure_latency  # noqa: E402
from outbox_parts.recovery import measure_recovery  # noqa: E402
from outbox_parts.relays import measure_relays  # noqa: E402
from outbox_parts.site import open_site  # noqa: E402
from outbox_parts.transactions import added, measure_transactions  # noqa: E402


@click.command(context_settings={"show_default": True})
@click.option("--orders", default=500, help="Transactions of each kind.")
@click.option("--rows", default=50_000, help="Messages for our relay.")
@click.option("--rivals-rows", default=2_000, help="Messages for django-celery-outbox, which takes longer.")
@click.option("--rounds", default=3, help="Of the relays.")
@click.option("--kills", default=10, help="Of producers, and of relays.")
@click.option(
    "--json", "file", type=click.Path(path_type=Path), default=ROOT / "benchmarks/results/outbox.json"
)
def main(orders: int, rows: int, rivals_rows: int, rounds: int, kills: int, file: Path) -> None:
    """Measure, print, and keep the raw figures."""
    options = {"orders": orders, "rows": rows, "rivals_rows": rivals_rows, "rounds": rounds, "kills": kills}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, open_site(Path(folder)) as site:
        figures["transactions"] = _told(measure_transactions(site, orders), _print_transactions)
        figures["latency"] = _told(measure_latency(site, orders), "ms to the broker")
        figures["relays"] = _told(measure_relays(site, rows, rivals_rows, rounds), "messages/s")
        figures["recovery"] = _told(measure_recovery(site, kills), "s to the broker after a crash")
    write_run(file, options, _rounded(figures))


def _told(found: Any, unit: str | Callable[[Any], None]) -> Any:
    """Print what was found, and return it."""
    if callable(unit):
        unit(found)
        return found
    for kind, values in found.items():
        click.echo(f"{_quantiles(values)} {unit}, {kind}")
    return found


def _print_transactions(found: Mapping[str, dict[str, list[float]]]) -> None:
    for unit, times in found.items():
        for kind in times:
            click.echo(f"{statistics.median(times[kind]):10.3f} {added(times, kind):+10.3f} {unit}, {kind}")


def _quantiles(values: Sequence[float]) -> str:
    ranked = sorted(values)
    last = len(ranked) - 1
    picked = (ranked[0], ranked[last // 2], ranked[round(last * 0.99)])
    return " ".join(f"{value:10.3f}" for value in picked)


def _rounded(values: Any) -> Any:
    """To a microsecond: what is beyond is noise."""
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    return [round(value, 3) for value in values]


if __name__ == "__main__":
    main()
