"""What is compared: stock Celery as it comes, stock Celery at its best, and Celeriac; and how they start."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import click
from backlog import QUEUE, Template
from private_redis import PrivateRedis

import celeriac

__all__ = ["CONTENDERS", "Bench", "Contender"]

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contender:
    name: str
    #: The module here that holds its app.
    module: str
    #: What its ``celery worker`` gets besides ``-c`` and ``-l``.
    options: tuple[str, ...] = ()

    @property
    def is_stock(self) -> bool:
        return self.module == "stock_app"


#: What Celery's own guide to optimizing advises for many short tasks.
_TUNED = (
    *("-O", "fair", "--prefetch-multiplier", "128"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)

CONTENDERS = (
    Contender("celery", "stock_app"),
    Contender("celery tuned", "stock_app", _TUNED),
    Contender("celeriac", "celeriac_app"),
)


class Bench:
    """Starts the programs of either side on one Redis, with results stored there or not at all.

    Celeriac plugs a command into ``celery``, so every stock worker would import it and pay for it.
    Therefore both sides run on folders of links to the installed packages, stock Celery's without
    Celeriac in it.
    """

    def __init__(self, redis: PrivateRedis, folder: Path, *, results: bool) -> None:
        self.redis = redis
        self.results = results
        self.log = folder / "worker.log"
        self.counters = folder / "counters"
        self.counters.mkdir()
        self._packages = folder / "packages"
        for module in {contender.module for contender in CONTENDERS}:
            _link_packages(self._packages / module, with_celeriac=module == "celeriac_app")

    def start(
        self, contender: Contender, *arguments: str, output: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start Python with the arguments, in a session of its own."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(self._packages / contender.module), str(HERE)]),
            "BENCH_BROKER": self.redis.broker_url,
            "BENCH_RESULTS": self.redis.results_url if self.results else "",
            "BENCH_COUNTERS": str(self.counters),
        }
        return subprocess.Popen(
            [sys.executable, "-S", *arguments],
            env=environment,
            cwd=self.counters.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def publish(self, contender: Contender, count: int) -> tuple[float, float]:
        """Send tasks from a process of its own; return the rates: ``count`` one by one, and many at once."""
        program = str(HERE / "producer.py")
        with self.start(contender, program, contender.module, str(count), output=subprocess.PIPE) as producer:
            output = producer.communicate()[0].decode(errors="replace")
        if producer.returncode:
            raise click.ClickException(f"{contender.name} could not publish:\n{output[-2000:]}")
        one_by_one, at_once = output.splitlines()[-2:]
        return float(one_by_one), float(at_once)

    @cached_property
    def template(self) -> Template:
        """What stock Celery sends for one task."""
        self.publish(CONTENDERS[0], 1)
        envelope = self.redis.messages.rpop(QUEUE)
        assert isinstance(envelope, bytes)
        return Template(envelope)


def _link_packages(folder: Path, *, with_celeriac: bool) -> None:
    folder.mkdir(parents=True)
    for installed in {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}:
        for entry in installed.iterdir():
            if "celeriac" not in entry.name or (with_celeriac and entry.suffix == ".dist-info"):
                (folder / entry.name).symlink_to(entry)
    if with_celeriac:
        (folder / "celeriac").symlink_to(Path(celeriac.__file__).parent)
