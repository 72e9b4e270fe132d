"""One cell of the crash matrix: a process is killed at a step, another finishes, and a judge counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from celeriac.bridge.wire import decode
from celeriac.brokers.connect import open_broker
from tests.django.failpoints import FAST_PATH, PRODUCER, RELAY
from tests.workers import ROOT, Ledger

__all__ = ["CELLS", "Cell", "Verdict", "run_cell"]

ORDERS = 12
ROLLBACK_EVERY = 4
NOWHERE = "redis://127.0.0.1:1/0"
JSON = frozenset({"application/json"})


@dataclass(frozen=True)
class Cell:
    """Who is killed, and where."""

    role: str
    step: str

    def __str__(self) -> str:
        return f"{self.role} {self.step}"

    @property
    def repeats(self) -> bool:
        """Whether what was being published may arrive twice."""
        return self.step in ("mid publish", "before settle", "before relay commit")


CELLS = tuple(
    [Cell("producer", step) for step in (*PRODUCER, *FAST_PATH)] + [Cell("relay", step) for step in RELAY]
)


@dataclass
class Verdict:
    """What is wrong after one run; nothing should be."""

    killed: bool = False
    committed: int = 0
    repeated: int = 0
    lost: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    inversions: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        return [*self.lost, *self.orphans, *self.beyond, *self.inversions]


def run_cell(
    cell: Cell, alias: str, database: dict[str, Any], broker: str, folder: Path, seed: int
) -> Verdict:
    """Run producer and relay, one of which dies, then a relay that does not; say what arrived."""
    from tests.django.conftest import empty
    from tests.django.shop.models import Order

    empty(alias)
    run = folder / uuid.uuid4().hex[:8]
    run.mkdir()
    url = broker or f"sqlite:///{run}/broker.db"
    prefix = {"global_keyprefix": f"{run.name}:"} if broker else {}
    environment = {
        "DATABASES": json.dumps({"default": database}),
        "BROKER": url,
        "TRANSPORT_OPTIONS": json.dumps(prefix),
        "LEDGER": str(Ledger(run / "ledger.db").path),
        "FAST_SECONDS": "0.2",
    }
    failpoint = f"{cell.step}:{Random(seed).randint(1, 4 if cell.role == 'producer' else 2)}"
    died = []
    if cell.role == "producer":
        died.append(
            _start("producer", [str(ORDERS), str(ROLLBACK_EVERY)], {**environment, "FAILPOINT": failpoint})
        )
    else:
        _start("producer", [str(ORDERS), str(ROLLBACK_EVERY)], {**environment, "BROKER": NOWHERE})
        batches = {**environment, "FAILPOINT": failpoint, "BATCH_MAX": "4"}
        died.append(_start("relay", ["--drain"], batches))
    assert _start("relay", ["--drain"], environment) == 0
    committed = list(Order.objects.using(alias).order_by("id").values_list("name", flat=True))
    return _judge(cell, died[0] == -9, committed, _arrived(url, prefix))


def _start(module: str, arguments: list[str], environment: dict[str, str]) -> int:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.django.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONWARNINGS": "ignore"},
        check=False,
        timeout=120,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode not in (0, -9):
        raise AssertionError(done.stdout.decode(errors="replace")[-3000:])
    return done.returncode


def _arrived(url: str, options: dict[str, Any]) -> list[str]:
    broker = open_broker(url, options)
    try:
        leases = broker.claim(["celery"], 10_000, owner="judge", lease_for=60).leases
        return [str(decode(lease.message.payload, JSON).args[0]) for lease in leases]
    finally:
        broker.close()


def _judge(cell: Cell, killed: bool, committed: list[str], arrived: list[str]) -> Verdict:
    counted = Counter(arrived)
    verdict = Verdict(killed, len(committed), sum(number - 1 for number in counted.values()))
    verdict.lost = [f"{key} was lost" for key in committed if not counted[key]]
    verdict.orphans = [f"{key} was never committed" for key in counted if key not in committed]
    most = 2 if cell.repeats and killed else 1
    verdict.beyond = [f"{key} arrived {number} times" for key, number in counted.items() if number > most]
    first = list(dict.fromkeys(arrived))
    expected = [key for key in committed if key in counted]
    if first != expected:
        verdict.inversions = [f"{first} is not in the order of {expected}"]
    return verdict
