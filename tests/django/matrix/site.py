"""A producer, relays and a worker that are killed again and again, and replaced."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from tests.django.matrix import project
from tests.django.matrix.app import KIND, traps
from tests.django.matrix.children import Child, Gone, Talker
from tests.django.matrix.steps import Step
from tests.django.matrix.traps import Trap

__all__ = ["Site"]

#: Orders made at a time, and how often that is done at most until somebody gets to the trap.
TOGETHER, TIMES = 3, 12
#: Seconds until more orders are made, if nobody has got there by then: at first, doubled up to the last.
SOON, LATE = 0.25, 4.0
#: Seconds at most for which a process goes on into its commit.
INTO_COMMIT = 0.003
#: Seconds without any progress after which what is missing is taken for lost.
PATIENCE = 30.0 if KIND == "celeriac" else 6.0


class Site:
    """Whoever dies is replaced before the next run, but for what its own parent replaces."""

    def __init__(self, folder: Path, relays: int, random: Random) -> None:
        self.met: Counter[str] = Counter()
        #: By number of the run.
        self.steps: dict[int, Step] = {}
        #: Steps that nobody got to.
        self.missed: list[str] = []
        self._folder = folder
        self._random = random
        self._producer = self._new_producer()
        self._relays = [self._new_relay() for _ in range(relays)]
        self._worker = self._new_worker()
        self._auditor = Talker(project.audit, self._log("auditor"))

    def run(self, number: int, step: Step) -> None:
        """Have somebody die at the step, around orders of this run's own."""
        self.steps[number] = step
        delay = self._random.uniform(0, INTO_COMMIT) if step.name.startswith("in ") else 0.0
        trap = Trap(number, step.victim, self._random.randint(1, 3) if step.role != "relay" else 1, delay)
        traps.lay(step.trap, trap)
        for turn in range(TIMES):
            for place in range(TOGETHER):
                self._order(number, f"{turn}{place}", fast=step.role != "relay")
            patience = 0.002 if step.role == "producer" else min(SOON * 2**turn, LATE)
            if (pid := self._wait_taken(patience)) is not None:
                self._wait_death(pid)
                if step.victim == "node":
                    self._worker.wait(10)
                self.met[str(step)] += 1
                break
        else:
            self.missed.append(f"{step}, run {number}")
        traps.clear()
        self._replace_dead()

    def finish(self) -> dict[str, Any]:
        """Let everything come to its end; return what there is then."""
        self._settle()
        if project.STOCK_WORKER:
            # Nobody can ask RabbitMQ what is unacked, but once a worker has ended nothing is.
            while True:
                os.kill(self._worker.pid, signal.SIGTERM)
                if not self._worker.wait(30):
                    self.missed.append("the worker did not end in 30 seconds")
                    self._worker.stop()
                if not self._auditor.ask("progress")["queued"]:
                    break
                self._worker = self._new_worker()
                self._settle()
        found: dict[str, Any] = self._auditor.ask("everything")
        return found

    def close(self) -> None:
        """Nothing is left of it."""
        for child in (self._worker, *self._relays, self._producer, self._auditor):
            child.stop()

    # -- Work

    def _order(self, run: int, place: str, *, fast: bool) -> None:
        order = {
            "key": f"{run}-{place}",
            "lane": f"{run}-{self._random.choice('ab')}",
            "rolled_back": self._random.random() < 0.25,
            "fast": fast,
        }
        try:
            self._producer.ask(order)
        except Gone:
            self._replace_dead()

    def _settle(self) -> None:
        """Return once nothing is on its way, or nothing has moved for long."""
        last: Any = None
        moved = time.monotonic()
        while time.monotonic() < moved + PATIENCE:
            self._replace_dead()
            state = self._auditor.ask("progress")
            if not any(state.values()):
                return
            if state != last:
                last, moved = state, time.monotonic()
            time.sleep(0.02)

    # -- Processes

    def _wait_taken(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while (pid := traps.taken()) is None and time.monotonic() < deadline:
            self._replace_dead()
            time.sleep(0.001)
        return pid

    def _wait_death(self, pid: int) -> None:
        """Return once the victim is dead."""
        deadline = time.monotonic() + 10
        while _lives(pid) and time.monotonic() < deadline:
            time.sleep(0.0005)

    def _replace_dead(self) -> None:
        if not self._producer.is_alive:
            self._producer.close()
            self._producer = self._new_producer()
        if not self._worker.is_alive:
            self._worker = self._new_worker()
        self._relays = [one if one.is_alive else self._new_relay() for one in self._relays]

    def _new_producer(self) -> Talker:
        return Talker(project.produce, self._log("producer"))

    def _new_relay(self) -> Child:
        return self._new(project.relay, "relay")

    def _new_worker(self) -> Child:
        return self._new(project.worker, "worker", leads=True)

    def _new(self, main: Callable[[], None], name: str, *, leads: bool = False) -> Child:
        return Child(main, self._log(name), leads=leads)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def _lives(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
