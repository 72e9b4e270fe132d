"""A fleet whose pods are ended and replaced again and again under load, from the rendered manifests."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from celeriac.brokers.connect import open_broker
from celeriac.deploy.manifests.kube_version import OLDEST
from celeriac.deploy.manifests.names import Manifest
from celeriac.deploy.manifests.render import render
from celeriac.k8s.application import describe, pools_of
from tests.drain.app import app
from tests.drain.kubelet import End, Pod, wait_ready
from tests.drain.load import Load, Verdict, judge
from tests.servers import RedisServer, wait_until
from tests.workers import Ledger

__all__ = ["Fleet", "Outcome", "fleet", "run"]

APP = "tests.drain.app"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign showed."""

    terminations: int
    #: Ends in which the preStop command saw the worker run dry, and in which something was killed.
    drained: int
    killed: int
    failed: int
    hook_seconds_max: float
    end_seconds_max: float
    verdict: Verdict


class Fleet:
    """Pods of one workload on one Redis, and the load they are under."""

    def __init__(self, folder: Path, redis: RedisServer, seed: int, longest: float = 3.0) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.ledger = Ledger(folder / "ledger.db")
        self.prefix = f"{uuid.uuid4().hex[:8]}:"
        self.url = redis.url
        self.longest = longest
        self.load = Load(redis.url, self.prefix, self.rng)
        self.workload = _workload()
        self.pods: list[Pod] = []
        self._started = 0

    def start(self, count: int = 1) -> list[Pod]:
        """Start pods; they are not ready yet."""
        new = [self._pod() for _ in range(count)]
        self.pods += new
        return new

    def _pod(self) -> Pod:
        self._started += 1
        environment = {
            "APP": APP,
            "BROKER": self.url,
            "KEY_PREFIX": self.prefix,
            "LEDGER": str(self.ledger.path),
            "LONGEST": str(self.longest),
        }
        return Pod(f"pod-{self._started}", self.workload, environment, self.folder)

    def replace(self, grace: float | None = None) -> End:
        """End a pod while its successor starts, as a rolling update does; return how it ended."""
        victim = self.pods.pop(self.rng.randrange(len(self.pods)))
        successors = self.start()
        try:
            ending = victim.end(grace)
        finally:
            victim.kill()
        wait_ready(successors)
        return ending

    def settle(self) -> Verdict:
        """Wait until every accepted message has ended, and judge."""
        wait_until(lambda: self.counts()[:2] == (0, 0), timeout=120, what="an empty broker")
        return judge(self.ledger.path, self.load.accepted, dead=self.counts()[2])

    def counts(self) -> tuple[int, int, int]:
        """How many messages are ready or delayed, leased, and dead."""
        with closing(open_broker(self.url, {"global_keyprefix": self.prefix})) as broker:
            stats = broker.stats(["celery"])["celery"]
        return stats.ready + stats.delayed, stats.leased, stats.dead

    def close(self) -> None:
        for pod in self.pods:
            pod.kill()
        self.load.close()


def _workload() -> Manifest:
    objects = render(describe(app, APP), pools_of(app), OLDEST).objects
    [workload] = [
        one for one in objects if one["kind"] == "Deployment" and "worker" in one["metadata"]["name"]
    ]
    return workload


@contextmanager
def fleet(folder: Path, redis: RedisServer, *, seed: int = 0, longest: float = 3.0) -> Iterator[Fleet]:
    """A fleet for the time of the block; whatever is left of it is killed afterwards."""
    running = Fleet(folder, redis, seed, longest)
    try:
        yield running
    finally:
        running.close()


def run(running: Fleet, terminations: int, pods: int, told: Callable[[End], None]) -> Outcome:
    """End so many pods under load, each at a random moment, and judge."""
    wait_ready(running.start(pods))
    ends = []
    for _ in range(terminations):
        running.load.publish(running.rng.randint(20, 60), running.longest * 0.9)
        ends.append(running.replace())
        told(ends[-1])
    verdict = running.settle()
    return Outcome(
        terminations=len(ends),
        drained=sum(end.drained is True for end in ends),
        killed=sum(end.killed for end in ends),
        failed=sum(end.exitcode != 0 for end in ends),
        hook_seconds_max=round(max(end.hook_seconds for end in ends), 2),
        end_seconds_max=round(max(end.seconds for end in ends), 2),
        verdict=verdict,
    )
