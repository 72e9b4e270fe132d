"""Pods of one rendered workload on one Redis, and the load they are under."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from celeriac.bridge.letters import tell
from celeriac.brokers.connect import open_broker
from celeriac.core.broker import Broker
from celeriac.deploy.manifests.kube_version import OLDEST
from celeriac.deploy.manifests.names import Manifest, workload_name
from celeriac.deploy.manifests.pools import Pool
from celeriac.deploy.manifests.render import render
from celeriac.k8s.application import describe, pools_of
from tests.drain.app import app
from tests.drain.kubelet import End, Kind, Pod
from tests.drain.load import Load, Verdict, judge
from tests.servers import RedisServer, wait_until
from tests.workers import Ledger

__all__ = ["Fleet", "rendered_workload"]

APP = "tests.drain.app"


class Fleet:
    """Pods, their broker, the producer, and the ledger that judges them."""

    def __init__(self, folder: Path, redis: RedisServer, seed: int, longest: float) -> None:
        """``longest`` is the seconds that the app allows its tasks; ``seed`` draws them."""
        self.folder = folder
        self.seed = seed
        self.ledger = Ledger(folder / "ledger.db")
        self.prefix = f"{uuid.uuid4().hex[:8]}:"
        self.url = redis.url
        self.longest = longest
        self.load = Load(redis.url, self.prefix, random.Random(seed))
        self.workload = rendered_workload(pools_of(app))
        self.pods: list[Pod] = []
        self._numbers = itertools.count(1)

    def start(self) -> Pod:
        """Start a pod; it is not ready yet."""
        environment = {
            "APP": APP,
            "BROKER": self.url,
            "KEY_PREFIX": self.prefix,
            "LEDGER": str(self.ledger.path),
            "LONGEST": str(self.longest),
        }
        pod = Pod(f"pod-{next(self._numbers)}", self.workload, environment, self.folder)
        self.pods.append(pod)
        return pod

    def end(self, pod: Pod, kind: Kind = "as rendered", grace: float | None = None) -> End:
        """End a pod in that way; whatever is left of it is killed."""
        try:
            # A node that has to be given back leaves it a second, and the kubelet two more.
            return pod.end(kind, 1.0 if kind == "short grace" else grace)
        finally:
            pod.kill()
            self.pods.remove(pod)

    def settle(self, ends: Iterable[End]) -> Verdict:
        """Wait until every accepted message has ended, and judge; ``ends`` are those of all pods so far."""
        wait_until(lambda: self.counts()[:2] == (0, 0), timeout=120, what="an empty broker")
        return judge(self.ledger.path, self.load.accepted, self.dead(), ends)

    def dead(self) -> set[str]:
        """The keys of the dead letters."""
        with closing(self.open_broker()) as broker:
            letters = broker.dead_letters(limit=100_000)
        return {str(tell(letter.message.payload).task_id) for letter in letters}

    def counts(self) -> tuple[int, int, int]:
        """How many messages are ready or delayed, leased, and dead."""
        with closing(self.open_broker()) as broker:
            stats = broker.stats(["celery"])["celery"]
        return stats.ready + stats.delayed, stats.leased, stats.dead

    def open_broker(self) -> Broker:
        """A connection of one's own."""
        return open_broker(self.url, {"global_keyprefix": self.prefix})

    def close(self) -> None:
        for pod in self.pods:
            pod.kill()
        self.load.close()


def rendered_workload(pools: Mapping[str, Pool]) -> Manifest:
    """Return the Deployment of the one pool."""
    [name] = pools
    objects = render(describe(app, APP), pools, OLDEST).objects
    wanted = ("Deployment", workload_name(name))
    [workload] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == wanted]
    return workload
