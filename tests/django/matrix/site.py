"""A producer, relays and a worker: one of them is killed and replaced, or what they need is for a while."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.django.matrix import project
from tests.django.matrix.app import KIND, traps
from tests.django.matrix.children import Child, Gone, Talker
from tests.django.matrix.faults import OUTAGES, STOPPED
from tests.django.matrix.outages import Outages
from tests.django.matrix.steps import Step
from tests.django.matrix.traps import Trap
from tests.processes import lives

__all__ = ["Site"]

#: Orders made at a time, and how often that is done at most until somebody gets to the trap.
TOGETHER, TIMES = 3, 12
#: Seconds until more orders are made, if nobody has got there by then: at first, doubled up to the last.
SOON, LATE = 0.25, 4.0
#: Seconds at most until a producer answers, when no server is away.
ANSWER = 30.0
#: Seconds at most for which a process goes on into its commit.
INTO_COMMIT = 0.003
#: Seconds at most for which a process stands still: less than a claim may last, and more.
BRIEFLY, LONG = 0.3, 1.6
#: Seconds at most for which a server is away.
AWAY = 0.5
#: Seconds without any progress after which what is missing is taken for lost.
PATIENCE = 70.0 if KIND == "celeriac" else 6.0


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
        self._outages = Outages()
        #: What goes on without anybody who may die of it; empty: somebody is killed.
        self._harmless = ""
        self._orders = 0
        self._producer = self._new_producer()
        self._relays = [self._new_relay() for _ in range(relays)]
        self._worker = self._new_worker()
        self._auditor = Talker(project.audit, self._log("auditor"))

    def run(self, number: int, step: Step) -> None:
        """Have the step's fault come about when somebody is there, around orders of this run's own."""
        self.steps[number] = step
        self._orders = 0
        self._harmless = f"{step}, run {number}" if step.victim in (STOPPED, *OUTAGES) else ""
        delay = self._random.uniform(0, INTO_COMMIT) if step.name.startswith("in ") else 0.0
        trap = Trap(number, step.victim, self._random.randint(1, 3) if step.role != "relay" else 1, delay)
        traps.lay(step.trap, trap)
        for turn in range(TIMES):
            for _ in range(TOGETHER):
                self._order(number, fast=step.role != "relay")
            patience = 0.002 if step.role == "producer" else min(SOON * 2**turn, LATE)
            if (pid := self._wait_taken(patience)) is not None:
                self._befall(number, step, pid)
                self.met[str(step)] += 1
                break
        else:
            self.missed.append(f"{step}, run {number}")
        traps.clear()
        self._replace_dead()

    def _befall(self, number: int, step: Step, pid: int) -> None:
        if step.victim in OUTAGES:
            self._restart(number, *OUTAGES[step.victim])
        elif step.victim == STOPPED:
            self._hold(number, pid)
        else:
            self._wait_death(pid)
            if step.victim == "node":
                self._worker.wait(10)

    def _restart(self, number: int, server: str, how: str) -> None:
        """The server ends, and comes back; whoever was at the step goes on as soon as it has ended."""
        self._outages.ask(how, server)
        traps.clear()
        self._go_on_ordering(number, self._random.uniform(0, AWAY))
        self._outages.ask("start", server)
        self._go_on_ordering(number, 0.0)

    def _hold(self, number: int, pid: int) -> None:
        """The process stands still while others go on, a producer among them; then it goes on as well."""
        traps.clear()
        seconds = self._random.uniform(0, self._random.choice((BRIEFLY, LONG)))
        held = self._producer if pid == self._producer.pid else None
        if held is not None:
            self._producer = self._new_producer()
        self._go_on_ordering(number, seconds)
        os.kill(pid, signal.SIGCONT)
        self._go_on_ordering(number, 0.0)
        if held is not None:
            self._producer.close()
            self._producer = held

    def _go_on_ordering(self, number: int, seconds: float) -> None:
        """At least one order is made; nobody waits for the answers."""
        deadline = time.monotonic() + seconds
        while True:
            self._order(number, fast=self._random.random() < 0.5, patience=0.05)
            if time.monotonic() >= deadline:
                return
            time.sleep(0.02)

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
                self._wait_unheld()
                if not self._auditor.ask("progress")["queued"]:
                    break
                self._worker = self._new_worker()
                self._settle()
        found: dict[str, Any] = self._auditor.ask("everything")
        return found

    def _wait_unheld(self) -> None:
        """Return once RabbitMQ has noticed that the worker has ended, and has back what it held."""
        deadline = time.monotonic() + PATIENCE
        while self._auditor.ask("consumers")["consumers"] and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        """Nothing is left of it."""
        for child in (self._worker, *self._relays, self._producer, self._auditor):
            child.stop()

    # -- Work

    def _order(self, run: int, *, fast: bool, patience: float = ANSWER) -> None:
        """Have an order made; return once it is, or somebody is at the step, or after so many seconds."""
        self._orders += 1
        order = {
            "key": f"{run}-{self._orders}",
            "lane": f"{run}-{self._random.choice('ab')}",
            "rolled_back": self._random.random() < 0.25,
            "fast": fast,
        }
        try:
            if self._answered(patience):
                self._producer.tell(order)
                self._answered(patience)
        except Gone:
            self._replace_dead()

    def _answered(self, seconds: float) -> bool:
        """Whether the producer waits for another order."""
        deadline = time.monotonic() + seconds
        while not self._producer.answers(0.002):
            if time.monotonic() > deadline or traps.taken() is not None:
                return False
        return True

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
        if KIND == "celeriac":  # the others lose
            self.missed.append(f"for {PATIENCE:g} s nothing has moved: {last}")

    # -- Processes

    def _wait_taken(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while (pid := traps.taken()) is None and time.monotonic() < deadline:
            self._replace_dead()
            time.sleep(0.001)
        return pid

    def _wait_death(self, pid: int) -> None:
        """Return once the victim is dead, with all its threads: its first one may be so before the others."""
        for own in (self._producer, self._worker, *self._relays):
            if own.pid == pid:
                own.wait(10)
                return
        deadline = time.monotonic() + 10
        while lives(pid) and time.monotonic() < deadline:
            time.sleep(0.0005)

    def _replace_dead(self) -> None:
        if not self._producer.is_alive:
            self._blame("producer", self._producer)
            self._producer.close()
            self._producer = self._new_producer()
        if not self._worker.is_alive:
            self._blame("worker", self._worker)
            self._worker = self._new_worker()
        for place, one in enumerate(self._relays):
            if not one.is_alive:
                self._blame("relay", one)
                self._relays[place] = self._new_relay()

    def _blame(self, who: str, child: Child) -> None:
        if self._harmless:
            said = self._log(who).read_text(errors="replace").strip().rpartition("\n")[2]
            self.missed.append(f"{self._harmless}: the {who} has died of it, status {child.status}: {said}")

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
