"""A pool gets smaller: real workers, an API that keeps what it is told, victims in Kubernetes' own order."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from celeriac.core.watch import Watchable
from celeriac.deploy.cluster.api import ClusterApi
from celeriac.deploy.cluster.pods import Pod, read_pods, selector_of_pool
from celeriac.observe.report import posted_reports
from tests.manifests.with_tools.conftest import TOOLS
from tests.replica_set import victims
from tests.scaler import APP, scaler
from tests.servers import wait_until
from tests.stage import Stage
from tests.workers import worker

HERE = Path(__file__).parent
PODS, BUSY = 6, 2

pytestmark = pytest.mark.timeout(170)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    """The URL of an API that knows pods."""
    resources = tmp_path / "resources.json"
    resources.write_text(json.dumps({"v1/pods": {"kind": "Pod", "namespaced": True}}))
    process = subprocess.Popen(
        [TOOLS / "python", HERE / "fake_api.py", resources],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def create(url: str, name: str, age: float) -> None:
    """A pod of the pool that has been ready for so many seconds."""
    since = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {"app.kubernetes.io/name": "celery", "app.kubernetes.io/component": "worker-naps"}
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "celery", "labels": labels, "creationTimestamp": since},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
        },
    }
    request = urllib.request.Request(
        f"{url}/api/v1/namespaces/celery/pods",
        json.dumps(pod).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status < 300


def test_idle_pods_go_first_and_without_the_mark_busy_ones_would(api: str, redis_stage: Stage) -> None:
    names = [f"pod-{number}" for number in range(PODS)]
    cluster = ClusterApi(api, "celery")

    def pods() -> list[Pod]:
        return read_pods(cluster.pods(selector_of_pool("naps")))

    with ExitStack() as stack:
        for number, name in enumerate(names[:BUSY]):  # the newest are those that get the work
            create(api, name, age=60 + number)
            log = redis_stage.folder / f"{name}.log"
            options = ("-n", f"celery@{name}", "-Q", "naps", "-c", "1")
            stack.enter_context(worker(APP, *options, environment=redis_stage.environment(), log=log))
        for _ in range(BUSY):
            redis_stage.app.send_task(f"{APP}.nap", args=[600], queue="naps")
        broker = redis_stage.broker()
        wait_until(lambda: broker.stats(["naps"])["naps"].leased == BUSY, what="the tasks to run")
        for number, name in enumerate(names[BUSY:]):
            create(api, name, age=3600 + number)
            log = redis_stage.folder / f"{name}.log"
            options = ("-n", f"celery@{name}", "-Q", "naps", "-c", "1")
            stack.enter_context(worker(APP, *options, environment=redis_stage.environment(), log=log))
        assert len(pods()) == PODS
        assert isinstance(broker, Watchable)
        wait_until(lambda: len(posted_reports(broker.posted().values())) == PODS, what="all workers to tell")
        wait_until(
            lambda: sum(report.busy for report in posted_reports(broker.posted().values()).values()) == BUSY,
            what="two busy",
        )
        running = stack.enter_context(
            scaler(redis_stage, CELERIAC_KUBERNETES_URL=api, POD_NAMESPACE="celery")
        )
        # What it has just met it looks at for a while before it takes pods away.
        wait_until(lambda: 0 < running.desired("naps") < PODS, timeout=90, what="fewer pods to be wanted")
        answer = running.answer("naps")
        assert (answer["ready"], answer["running"]) == (PODS, BUSY)
        wait_until(lambda: any(pod.cost for pod in pods()), what="the costs to be written")
        marked = pods()
        count = min(PODS - answer["desired"], PODS - BUSY)
        busy = set(names[:BUSY])
        going = {pod.name for pod in victims(marked, count, now=time.time())}
        idle_share = len(going - busy) / count
        unmarked = [msgspec.structs.replace(pod, cost=0) for pod in marked]
        without = {pod.name for pod in victims(unmarked, count, now=time.time())}
        assert idle_share >= 0.9
        assert busy <= without  # the latest ready go first
        assert all(pod.cost >= 10 for pod in marked if pod.name in busy)
