"""One contender on a Redis of its own: starts its worker and its producer, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contenders.lineup import Contender
from rig.private_redis import PrivateRedis, start_redis
from rig.producer import Producer
from rig.tally import Tally
from rig.tape import Tape
from rig.worker import Worker

__all__ = ["Stage", "Unavailable", "open_stage", "program_environment"]

#: Tasks that a worker runs before it is measured: it has connected, forked and imported by then.
_WARM_UP = 200
_WARM_UP_SECONDS = 0.3
_MEMORY = Path("/dev/shm")
_BENCHMARKS = Path(__file__).resolve().parents[1]
_SOURCE = _BENCHMARKS.parent / "src"
#: Celeriac's metadata, so that Celery finds the command that it plugs in; stock Celery is run without.
_CELERIAC = Path(sys.prefix) / "celeriac"


class Unavailable(Exception):
    """The installed version cannot be run in this way."""


class Stage:
    """What a measurement works with."""

    def __init__(self, contender: Contender, redis: PrivateRedis, folder: Path, *, results: bool) -> None:
        self.contender = contender
        self.redis = redis
        self.results = results
        self.folder = folder
        self.tally = Tally.create(folder)

    def start_worker(self) -> Worker:
        """Start the worker's command."""
        command = [word.format(broker=self.redis.broker_url) for word in self.contender.worker]
        log = self.folder / "worker.log"
        with log.open("wb") as output:
            process = self._start(command, {}, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return Worker(self.contender.name, process, log, self.tally)

    @contextmanager
    def warm_worker(self, producer: Producer) -> Iterator[Worker]:
        """A worker that has run its first tasks and has nothing left to do."""
        producer.fill(min(_WARM_UP, self.contender.tasks(_WARM_UP_SECONDS)))
        with self.start_worker() as worker:
            worker.wait_until(self.is_settled)
            if self.contender.not_itself and self.contender.not_itself in worker.log:
                raise Unavailable(self.contender.name)
            yield worker

    def is_settled(self, runs: int) -> bool:
        """Is nothing left to run or to acknowledge, and is every result stored that is to be?"""
        if not runs or self.contender.unsettled(self.redis):
            return False
        return not self.results or self.contender.stored(self.redis) >= runs

    @contextmanager
    def producer(self) -> Iterator[Producer]:
        """A producer for the queue that the worker reads."""
        with self._producer({}) as producer:
            yield producer

    @contextmanager
    def recording_producer(self, studio: PrivateRedis) -> Iterator[Producer]:
        """A producer for another Redis, all of whose calls can be recorded."""
        redirected = {"BENCH_RECORD": str(studio.port)}
        with self._producer(redirected) as producer:
            yield producer

    def record(self, producer: Producer, first: int, count: int) -> Tape:
        """Return what the contender says to enqueue that many ``stamp`` tasks, numbered from ``first``."""
        file = self.folder / "tape"
        producer.record(first, count, str(file))
        return Tape.read(file)

    def _producer(self, variables: Mapping[str, str]) -> Producer:
        log = self.folder / "producer.log"
        with log.open("ab") as errors:
            program = [str(_BENCHMARKS / "produce.py"), f"contenders.{self.contender.module}"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            return Producer(self.contender.name, self._start(program, variables, **pipes), log)

    def _start(
        self, command: list[str], variables: Mapping[str, str], **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start Python with the arguments, in a session of its own."""
        environment = program_environment(celeriac=self.contender.is_celeriac) | {
            "BENCH_BROKER": self.redis.broker_url,
            "BENCH_RESULTS": self.redis.results_url if self.results else "",
            "BENCH_TALLY": str(self.folder),
            **variables,
        }
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            cwd=self.folder,
            start_new_session=True,
            **streams,
        )
        return process


def program_environment(*, celeriac: bool) -> dict[str, str]:
    """Variables of a program that finds the contenders, and Celeriac only if it is to."""
    paths = [_BENCHMARKS, *((_SOURCE, _CELERIAC) if celeriac else ())]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}


@contextmanager
def open_stage(contender: Contender, *, results: bool = False) -> Iterator[Stage]:
    """A new Redis, a new folder in memory; both are gone after the block."""
    memory = _MEMORY if _MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="celeriac-bench-", dir=memory))
    try:
        with start_redis() as redis:
            yield Stage(contender, redis, folder, results=results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
