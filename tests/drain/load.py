"""Tasks that keep a fleet busy, and the ledger's word on each of them."""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from celeriac import Celery
from tests.drain.kubelet import End

__all__ = ["Load", "Verdict", "judge"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all tasks that were accepted."""

    accepted: int
    done: int
    #: Neither done nor, cut short with early acks, among the dead letters.
    lost: tuple[str, ...] = ()
    #: Started again although nothing had cut them short or, with early acks, although no pod was killed.
    repeated: tuple[str, ...] = ()
    #: Cut short with their pod and kept, as is promised: run again, or a dead letter with early acks.
    run_again: tuple[str, ...] = ()
    buried: tuple[str, ...] = ()


class Load:
    """Publishes tasks of random lengths, half of them with late acks."""

    def __init__(self, url: str, prefix: str, rng: random.Random) -> None:
        self._app = Celery("producer", broker=url)
        self._app.conf.broker_transport_options = {"global_keyprefix": prefix}
        self._rng = rng
        self.accepted: list[str] = []

    def publish(self, count: int, longest: float) -> None:
        """Publish so many tasks, most of them short, the longest as long as this (seconds)."""
        for _ in range(count):
            self.send(self._rng.choice(("late", "early")), longest * self._rng.random() ** 4)

    def send(self, kind: str, seconds: float, **options: Any) -> None:
        """Publish one task, ``late`` or ``early`` by when it is acknowledged; its key is its id."""
        key = f"{kind}-{len(self.accepted)}"
        self._app.send_task(f"tests.drain.app.{kind}", args=(key, seconds), task_id=key, **options)
        self.accepted.append(key)

    def close(self) -> None:
        self._app.close()


def judge(ledger: Path, accepted: list[str], dead: AbstractSet[str], ends: Iterable[End]) -> Verdict:
    """Compare what was accepted with what the tasks wrote down; ``dead`` are the dead letters."""
    some = list(ends)
    abrupt = {end.group for end in some if not end.orderly}
    # Nobody is left to say what had started on a node that is gone: all of it is run again.
    gone = {end.group for end in some if end.killed}
    with closing(sqlite3.connect(ledger, timeout=60)) as connection:
        query = "SELECT key, what, pid FROM entries ORDER BY rowid"
        rows: list[tuple[str, str, int]] = connection.execute(query).fetchall()
    pods: defaultdict[str, list[int]] = defaultdict(list)
    for key, what, pod in rows:
        if what == "started":
            pods[key].append(pod)
    done = {key for key, what, _ in rows if what == "done"}
    buried = [key for key in accepted if key not in done and key in dead and abrupt.issuperset(pods[key])]
    again = [key for key in accepted if len(pods[key]) > 1]
    may_run_again = {"late": abrupt, "early": gone}
    beyond = [key for key in again if not may_run_again[key.partition("-")[0]].issuperset(pods[key][:-1])]
    return Verdict(
        accepted=len(accepted),
        done=len(done),
        lost=tuple(key for key in accepted if key not in done and key not in buried),
        repeated=tuple(beyond),
        run_again=tuple(key for key in again if key not in beyond),
        buried=tuple(buried),
    )
