"""All runs on one database and one broker, in a process of its own.

``python -m tests.django.matrix.cell FILE RUNS SEED SECONDS``; the environment names what is under test, and
where.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.django.matrix import project
from tests.django.matrix.app import KIND, traps
from tests.django.matrix.children import Child
from tests.django.matrix.faults import faults
from tests.django.matrix.ledger import read
from tests.django.matrix.site import Site
from tests.django.matrix.steps import Step, steps
from tests.django.matrix.verdict import judge


def main(file: Path, runs: int, seed: int, seconds: float) -> None:
    """Make so many runs of each step, or fewer if the time is over; write what came of them."""
    folder = Path(os.environ["LEDGER"]).parent
    random = Random(seed)
    traps.clear()
    migration = Child(project.set_up, folder / "migrate.log")
    migration.wait()
    project.prepare()
    gc.collect()
    gc.freeze()  # so that what is forked from here shares its memory
    relays = 0 if project.EMBEDDED or KIND in ("delay", "delay_on_commit") else 2
    site = Site(folder, relays, random)
    began = time.monotonic()
    try:
        _kill_everywhere(site, runs, random, began + seconds)
        killing = time.monotonic() - began
        found = site.finish()
    finally:
        site.close()
    named = {number: str(step) for number, step in site.steps.items()}
    verdict: dict[str, Any] = {
        "killing_seconds": round(killing, 1),
        "seconds": round(time.monotonic() - began, 1),
        "missed": site.missed,
        "dead": found["dead"],
        "steps": judge(read(Path(os.environ["LEDGER"])), found, named),
    }
    file.write_text(json.dumps(verdict))


def _kill_everywhere(site: Site, runs: int, random: Random, deadline: float) -> None:
    number = 0
    places: list[Step] = steps(KIND, stock_worker=project.STOCK_WORKER)
    if KIND == "celeriac":
        places += faults(json.loads(os.environ["SERVERS"]))
    if only := json.loads(os.environ.get("STEPS", "[]")):
        places = [step for step in places if str(step) in only]
    for _ in range(runs):
        random.shuffle(places)
        for step in places:
            if time.monotonic() > deadline:
                return
            number += 1
            site.run(number, step)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
