"""Two workers and a producer under a mixed load, with a shard killed now and then, measured as they go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import msgspec

from celeriac.bridge.wire import decode
from celeriac.core.lease import DeadLetter
from tests.servers import RedisServer, wait_until
from tests.soak.books import Books, Kill, balance
from tests.soak.store import measure
from tests.soak.trend import Finding, Point, by_life, judge
from tests.soak.vitals import Vitals, look
from tests.stage import Stage
from tests.workers import ROOT, WorkerProcess

__all__ = ["Settings", "Soak"]

#: The two workers: one is to live on, the other replaces its process again and again by itself.
STEADY, RECYCLED = "steady", "recycled"
#: Tasks after which the process of the second worker is replaced.
TASKS_EACH = 200
#: Revoked ids that a worker remembers (Celery: 50,000), so that their number is steady.
REVOKES = 100
#: Seconds in which everything is done once nothing is published any more, and a worker ends when told to.
DONE_WITHIN = 60.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    lasts: float
    #: Calls a second; some of them publish several tasks.
    rate: float = 16.0
    sample_every: float = 5.0
    kill_every: float = 60.0
    seed: int = 1


class Soak:
    """What lives on is told from what comes and goes; ``redis`` is the broker's server, if it has one."""

    def __init__(self, folder: Path, redis: RedisServer | None, settings: Settings) -> None:
        self.stage = Stage(folder, redis)
        self.settings = settings
        self.kills: list[Kill] = []
        self.wrong: list[str] = []
        #: What was measured, by part and quantity.
        self.series: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
        #: Seconds since the start at which each part was first seen in a new process.
        self.lives: defaultdict[str, list[float]] = defaultdict(list)
        #: These processes.
        self.pids: defaultdict[str, list[int]] = defaultdict(list)
        #: Seconds of it that each part has used.
        self.processor: dict[str, float] = {}
        self.exit_codes: dict[str, int] = {}
        self._url = redis.url if redis is not None else self.stage.url
        self._random = Random(settings.seed)
        self._began = time.monotonic()
        self._workers: dict[str, WorkerProcess] = {}
        self._producer: subprocess.Popen[bytes] | None = None
        self._oldest = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The workers and the producer for the time of the block; nothing of them is left afterwards."""
        with ExitStack() as stack:
            for name, shards, tasks_each in ((STEADY, 2, 0), (RECYCLED, 1, TASKS_EACH)):
                self._workers[name] = self._start_worker(name, shards, tasks_each)
                stack.callback(_kill_group, self._workers[name].process)
            for name, shards in ((STEADY, 2), (RECYCLED, 1)):
                self._wait_for_shards(name, shards)
            self._oldest = min(self._workers[STEADY].shards())
            self._producer = self._start_producer()
            stack.callback(_kill_group, self._producer)
            self._began = time.monotonic()
            yield

    def go_on(self) -> Iterator[float]:
        """Measure and kill as the settings say; yield the seconds since the start after each look."""
        to_kill = self.settings.kill_every
        while (now := self._now()) < self.settings.lasts:
            self._sample(now)
            if now >= to_kill:
                self._kill_the_younger()
                to_kill += self.settings.kill_every
            yield now
            time.sleep(max(0.0, self.settings.sample_every - (self._now() - now)))
        yield self.settings.lasts

    def finish(self) -> Books:
        """Publish no more, let everything come to its end, end the workers, and balance the books."""
        assert self._producer is not None
        self._sample(self._now())
        self._producer.terminate()
        self.exit_codes["producer"] = self._producer.wait()
        if not _comes_true(self._is_all_ended, DONE_WITHIN):
            self.wrong.append(f"stuck: {self.stage.broker().stats(['celery'])['celery']}")
        for name, worker in self._workers.items():
            self.exit_codes[name] = worker.stop()
        self.wrong += [f"{name} ended with {code}" for name, code in self.exit_codes.items() if code]
        books = balance(self.stage.ledger.path, self.kills, dict(self._letters()))
        books.wrong += self.wrong
        return books

    def findings(self) -> list[Finding]:
        """What became of each quantity of each part."""
        found = [
            judge(part, quantity, by_life(points, self.lives[part]), self.settings.lasts)
            for (part, quantity), points in sorted(self.series.items())
        ]
        return [finding for finding in found if finding is not None]

    @property
    def cores_used(self) -> float:
        """How many processors the workers and the producer have used on average."""
        return sum(self.processor.values()) / max(self._now(), 1.0)

    # -- Looking

    def _sample(self, now: float) -> None:
        proportional = 0
        for part, pid in self._parts():
            if vitals := look(pid):
                if pid not in self.pids[part][-1:]:
                    self.pids[part].append(pid)
                    self.lives[part].append(now)
                self._keep(now, part, vitals)
                self.processor[part] = vitals.processor  # a parent counts what its ended children have used
                proportional += vitals.proportional if part != "producer" else 0
        self.series["both workers", "shared out"].append((now, proportional))
        for what, value in measure(self._url, self.stage.folder).items():
            self.series[what, "keys" if what.endswith("keys") else "memory"].append((now, value))

    def _keep(self, now: float, part: str, vitals: Vitals) -> None:
        for quantity, value in (
            ("memory", vitals.anonymous),
            ("descriptors", vitals.descriptors),
            ("threads", vitals.threads),
        ):
            self.series[part, quantity].append((now, value))

    def _parts(self) -> Iterator[tuple[str, int]]:
        yield "supervisor", self._workers[STEADY].pid
        yield "supervisor that recycles", self._workers[RECYCLED].pid
        yield "shard that lives on", self._oldest
        if younger := self._younger():
            yield "shard that is killed", younger
        if recycled := self._workers[RECYCLED].shards():
            yield "shard that is recycled", recycled[-1]
        if self._producer is not None:
            yield "producer", self._producer.pid

    def _younger(self) -> int | None:
        """The other shard; none while it is being replaced."""
        others = [pid for pid in self._workers[STEADY].shards() if pid != self._oldest and look(pid)]
        return others[-1] if others else None

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _is_all_ended(self) -> bool:
        stats = self.stage.broker().stats(["celery"])["celery"]
        return stats.ready == stats.leased == stats.delayed == 0

    def _letters(self) -> Iterator[tuple[str, str]]:
        broker, offset = self.stage.broker(), 0
        while letters := broker.dead_letters(offset, 500):
            yield from ((_key(letter), letter.reason) for letter in letters)
            offset += len(letters)

    # -- Processes

    def _kill_the_younger(self) -> None:
        if self._oldest not in self._workers[STEADY].shards():
            self.wrong.append("a shard has ended that nobody killed")
            self._oldest = min(self._workers[STEADY].shards())
        if younger := self._younger():
            self.kills.append(Kill(younger, time.time()))
            with suppress(ProcessLookupError):
                os.kill(younger, signal.SIGKILL)

    def _start_worker(self, name: str, shards: int, tasks_each: int) -> WorkerProcess:
        options = ["-c", str(shards), "-n", f"{name}@soak", "-E", "-l", "warning"]
        environment = {
            **self.stage.environment(),
            "TASKS_EACH": str(tasks_each),
            "CELERY_WORKER_REVOKES_MAX": str(REVOKES),
        }
        return WorkerProcess("tests.soak.app", options, environment, self.stage.folder / f"{name}.log")

    def _wait_for_shards(self, name: str, number: int) -> None:
        worker = self._workers[name]

        def is_there() -> bool:
            assert worker.process.poll() is None, worker.text
            return len(worker.shards()) == number

        wait_until(is_there, 30, f"{number} shards of {name}")

    def _start_producer(self) -> subprocess.Popen[bytes]:
        arguments = [str(self.settings.seed), str(self.settings.rate), str(len(self._workers))]
        with (self.stage.folder / "producer.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.soak.load", *arguments],
                cwd=ROOT,
                env={**os.environ, **self.stage.environment()},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _key(letter: DeadLetter) -> str:
    delivered = decode(letter.message.payload, frozenset(["application/json"]))
    return str(delivered.args[-1 if delivered.headers["task"].endswith("gather") else 0])


def _comes_true(condition: object, seconds: float) -> bool:
    assert callable(condition)
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.1)
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
