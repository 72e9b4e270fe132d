"""Publishes a mixed load at a modest rate: ``python -m tests.soak.load SEED RATE NODES``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from random import Random

from celery import chain, chord
from celery.exceptions import TimeoutError as WaitedTooLong
from celery.exceptions import WorkerLostError

from tests.soak.app import again, alone, app, fail, gather, late, note, once, paced, spin, work

__all__ = ["SHARES", "Load"]

_PAYLOAD = "x" * 10_000
#: Seconds in which a result, or the answers to a question, are there.
_ANSWERED_WITHIN = 30.0


class Load:
    """Each method publishes one call, and says of each key when it was accepted."""

    def __init__(self, random: Random, nodes: int) -> None:
        self._random = random
        self._nodes = nodes

    def nothing(self, key: str) -> None:
        work.apply_async((key,), ignore_result=True)
        note(key, "accepted")

    def with_result(self, key: str) -> None:
        work.apply_async((key,))
        note(key, "accepted")

    def acked_late(self, key: str) -> None:
        late.delay(key, self._random.choice((0.0, 0.01)))
        note(key, "accepted")

    def one_millisecond(self, key: str) -> None:
        spin.apply_async((key, 0.001), ignore_result=True)
        note(key, "accepted")

    def hundred_milliseconds(self, key: str) -> None:
        work.delay(key, 0.1)
        note(key, "accepted")

    def sleeping(self, key: str) -> None:
        late.delay(key, 2.0)
        note(key, "accepted")

    def failing(self, key: str) -> None:
        fail.delay(key)
        note(key, "accepted")

    def retrying(self, key: str) -> None:
        again.delay(key)
        note(key, "accepted")

    def delayed(self, key: str) -> None:
        work.apply_async((key,), countdown=self._random.uniform(0.5, 10.0), ignore_result=True)
        note(key, "accepted")

    def large(self, key: str) -> None:
        work.delay(key, load=_PAYLOAD)
        note(key, "accepted")

    def chained(self, key: str) -> None:
        chain(late.s(f"{key}-first"), gather.s(f"{key}-second")).delay()
        for part in ("first", "second"):
            note(f"{key}-{part}", "accepted")

    def chorded(self, key: str) -> None:
        parts = [f"{key}-{number}" for number in range(3)]
        chord([late.s(part) for part in parts])(gather.s(f"{key}-body"))
        for part in (*parts, f"{key}-body"):
            note(part, "accepted")

    def revoked(self, key: str) -> None:
        result = work.apply_async((key,), countdown=2.0)
        note(key, "accepted")
        result.revoke()

    def unique(self, key: str) -> None:
        # Not due before the second call, however late that is on a busy machine: the first would be done.
        first = once.apply_async((key,), countdown=5.0)
        note(key, "accepted")
        if once.apply_async((key,), countdown=5.0).id != first.id:
            note(key, "wrong: two calls of a unique task were accepted")

    def limited(self, key: str) -> None:
        alone.apply_async((key,), ignore_result=True)
        note(key, "accepted")

    def rated(self, key: str) -> None:
        paced.apply_async((key,), ignore_result=True)
        note(key, "accepted")

    def waited_for(self, key: str) -> None:
        result = work.delay(key)
        note(key, "accepted")
        try:
            if result.get(timeout=_ANSWERED_WITHIN) != key:
                note(key, "wrong: the result is another")
        except WaitedTooLong:
            note(key, "wrong: no result")
        except WorkerLostError:
            pass  # it ran in a process that was killed, and must not start twice

    def inspected(self, key: str) -> None:
        question = self._random.choice(("active", "stats", "reserved", "scheduled", "registered"))
        inspect = app.control.inspect(timeout=_ANSWERED_WITHIN, limit=self._nodes)
        answers = getattr(inspect, question)() or {}
        note(key, "asked")
        if len(answers) != self._nodes:
            note(key, f"wrong: {question} was answered by {len(answers)} of {self._nodes}")


#: How often each kind comes in a hundred calls.
SHARES: dict[Callable[[Load, str], None], int] = {
    Load.nothing: 20,
    Load.with_result: 12,
    Load.acked_late: 10,
    Load.one_millisecond: 10,
    Load.hundred_milliseconds: 6,
    Load.sleeping: 2,
    Load.failing: 5,
    Load.retrying: 4,
    Load.delayed: 6,
    Load.large: 4,
    Load.chained: 3,
    Load.chorded: 2,
    Load.revoked: 3,
    Load.unique: 3,
    Load.limited: 3,
    Load.rated: 3,
    Load.waited_for: 3,
    Load.inspected: 1,
}


def main(seed: int, rate: float, nodes: int) -> None:
    """Publish ``rate`` calls a second, until SIGTERM; the call under way is finished."""
    going = True

    def end(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, end)
    random = Random(seed)
    load = Load(random, nodes)
    kinds, weights = list(SHARES), list(SHARES.values())
    due = time.monotonic()
    for number in count(1):
        publish = random.choices(kinds, weights)[0]
        publish(load, f"{publish.__name__} {number}")
        due = max(due + 1 / rate, time.monotonic() - 1)  # what was late is not made up for all at once
        while going and (left := due - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        if not going:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
