"""Measures how long the scaler takes to decide for one pool: ``python benchmarks/decision.py [--json FILE]``.

A pool with a month of history, delayed messages and beat entries; the brain is asked a thousand times.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.brain import Brain
from celeriac.deploy.scaling.memory import recall, remember
from celeriac.deploy.scaling.view import TICK, Due, Firing, View

HISTORY, ASKED = int(9 * 86_400 / TICK), 1000


def view(tick: int, chance: random.Random) -> View:
    """A pool under a daily load, with a hundred times at which something is due."""
    now = tick * TICK
    return View(
        now,
        arrivals=chance.randrange(40) + int(60 + 50 * math.sin(now / 86_400 * math.tau)),
        queued=5,
        running=20,
        ready=8,
        starting=(3.0, 20.0),
        finished=100,
        run_seconds=200.0,
        run_seconds_squared=900.0,
        due=[Due(now + 15.0 * ahead, 30, 10.0) for ahead in range(100)]
        + [Due(now + 60, None, 0.0, "hourly")],
        fired=[Firing("hourly", 500, 20.0)] if tick % 240 == 0 else (),
    )


def measure() -> dict[str, float]:
    """Return milliseconds; a decision's are of CPU, so that others on the machine do not count."""
    chance = random.Random(1)
    brain = Brain(Aims(slots_per_pod=4))
    for tick in range(1, HISTORY):
        brain.explain(view(tick, chance))
    took = []
    for tick in range(HISTORY, HISTORY + ASKED):
        seen = view(tick, chance)
        begun = time.thread_time()
        brain.explain(seen)
        took.append(1000 * (time.thread_time() - begun))
    took.sort()
    begun = time.perf_counter()
    memory = remember(brain)
    remembered = time.perf_counter()
    recall(Brain(Aims(slots_per_pod=4)), memory)
    return {
        "decision_p50_ms": round(took[ASKED // 2], 3),
        "decision_p99_ms": round(took[ASKED * 99 // 100], 3),
        "decision_max_ms": round(took[-1], 3),
        "remember_ms": round(1000 * (remembered - begun), 1),
        "recall_ms": round(1000 * (time.perf_counter() - remembered), 1),
        "memory_kb": round(len(memory) / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    arguments = parser.parse_args()
    figures = measure()
    print(json.dumps(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
