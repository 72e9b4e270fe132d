"""Tasks that keep a fleet busy, and the ledger's word on each of them."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from celeriac import Celery

__all__ = ["Load", "Verdict", "judge"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all tasks that were accepted."""

    accepted: int
    done: int
    #: Never done, and not among the dead letters either.
    lost: tuple[str, ...] = ()
    #: Started more than once.
    repeated: tuple[str, ...] = ()
    #: Cut short at the end of a soft shutdown: run again with late acks, a dead letter otherwise.
    cut_short: tuple[str, ...] = ()


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
        """Publish one task, ``late`` or ``early`` by when it is acknowledged."""
        key = f"{kind}-{len(self.accepted)}"
        self._app.send_task(f"tests.drain.app.{kind}", args=(key, seconds), **options)
        self.accepted.append(key)

    def close(self) -> None:
        self._app.close()


def judge(ledger: Path, accepted: list[str], dead: int) -> Verdict:
    """Compare what was accepted with what the tasks wrote down; ``dead`` letters are kept, not lost."""
    with closing(sqlite3.connect(ledger, timeout=60)) as connection:
        rows: list[tuple[Any, ...]] = connection.execute("SELECT key, what FROM entries").fetchall()
    started = Counter(key for key, what in rows if what == "started")
    done = Counter(key for key, what in rows if what == "done")
    missing = [key for key in accepted if not done[key]]
    buried = [key for key in missing if key.startswith("early") and started[key] == 1][:dead]
    again = [key for key in accepted if started[key] > 1]
    return Verdict(
        accepted=len(accepted),
        done=len([key for key in accepted if done[key]]),
        lost=tuple(key for key in missing if key not in buried),
        repeated=tuple(key for key in again if done[key] > 1 or key.startswith("early")),
        cut_short=(*buried, *(key for key in again if key.startswith("late") and done[key] == 1)),
    )
