"""A fleet whose pods are ended and replaced again and again under load, from the rendered manifests."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from tests.drain.fleet import Fleet
from tests.drain.kubelet import End, Kind, wait_ready
from tests.drain.load import Verdict
from tests.servers import RedisServer

__all__ = ["MIXED", "Ended", "Outcome", "fleet", "run"]

#: How often each kind of end is drawn.
MIXED: dict[Kind, int] = {"as rendered": 80, "no preStop": 8, "short grace": 6, "killed": 6}


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """All ends of one kind."""

    ends: int
    #: Ends in which the preStop command saw the worker run dry, and in which something was killed.
    drained: int
    killed: int
    exitcodes: dict[int, int]
    seconds_median: float
    seconds_max: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign showed."""

    terminations: int
    minutes: float
    kinds: dict[str, Ended]
    verdict: Verdict


@contextmanager
def fleet(folder: Path, redis: RedisServer, *, seed: int = 0, longest: float = 12.0) -> Iterator[Fleet]:
    """A fleet for the time of the block; whatever is left of it is killed afterwards."""
    running = Fleet(folder, redis, seed, longest)
    try:
        yield running
    finally:
        running.close()


def run(
    running: Fleet,
    kinds: Sequence[Kind],
    pods: int,
    told: Callable[[End], None],
    until: float = float("inf"),
) -> Outcome:
    """End a pod for each of ``kinds`` under load, ``pods`` side by side, and judge.

    None is ended after ``until`` (``time.monotonic``).
    """
    began = time.monotonic()
    todo = iter(enumerate(kinds))
    guard = threading.Lock()
    ends: list[End] = []

    def next_kind() -> tuple[int, Kind] | None:
        with guard:
            return next(todo, None) if time.monotonic() < until else None

    def keep_ending() -> None:
        pod = running.start()
        wait_ready([pod])
        while (drawn := next_kind()) is not None:
            number, kind = drawn
            # Some time into the load, which is another for each end and the same for each seed.
            time.sleep(random.Random(f"{running.seed} {number}").uniform(0, 0.5))
            successor = running.start()
            end = running.end(pod, kind)
            with guard:
                ends.append(end)
                told(end)
            wait_ready([successor])
            pod = successor

    with _fed(running, pods), ThreadPoolExecutor(pods) as lanes:
        for finished in [lanes.submit(keep_ending) for _ in range(pods)]:
            finished.result()
    verdict = running.settle(ends)
    return Outcome(
        terminations=len(ends),
        minutes=round((time.monotonic() - began) / 60, 1),
        kinds={kind: _ended(some) for kind in MIXED if (some := [end for end in ends if end.kind == kind])},
        verdict=verdict,
    )


@contextmanager
def _fed(running: Fleet, pods: int) -> Iterator[None]:
    """For the time of the block, some tasks wait for each pod, and more come as these are taken."""
    over = threading.Event()

    def feed() -> None:
        with closing(running.open_broker()) as broker:
            while not over.wait(0.2):
                if broker.stats(["celery"])["celery"].ready < 4 * pods:
                    # On a busy machine all but sleep takes longer: tasks stay far below what they may take.
                    running.load.publish(8 * pods, running.longest / 4)

    with ThreadPoolExecutor(1) as feeder:
        feeding = feeder.submit(feed)
        try:
            yield
        finally:
            over.set()
        feeding.result()


def _ended(ends: Sequence[End]) -> Ended:
    return Ended(
        ends=len(ends),
        drained=sum(end.drained is True for end in ends),
        killed=sum(end.killed for end in ends),
        exitcodes=dict(sorted(Counter(end.exitcode for end in ends).items())),
        seconds_median=round(statistics.median(end.seconds for end in ends), 2),
        seconds_max=round(max(end.seconds for end in ends), 2),
    )
