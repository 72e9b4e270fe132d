"""The preStop command asks on until its worker answers or its time is up, and says what it saw."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from celeriac.deploy.manifests.pools import Pool
from tests.drain.campaign import fleet
from tests.drain.fleet import APP, rendered_workload
from tests.drain.kubelet import ROOT, wait_ready
from tests.servers import RedisServer, free_port, wait_until

#: Longer than a worker gets for one answer.
BUSY = 5.0


def drain(broker: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """The command, for a worker that nobody has started."""
    program = str(Path(sys.executable).with_name("celeriac"))
    return subprocess.run(
        [program, "-A", APP, "k8s", "drain", "--timeout", f"{timeout:g}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BROKER": broker, "HOSTNAME": "nobody"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_that_answers_only_between_two_tasks_is_asked_until_it_does(
    tmp_path: Path, redis: RedisServer
) -> None:
    with fleet(tmp_path, redis, longest=20.0) as running:
        running.workload = rendered_workload({"worker": Pool(pool="solo", longest=20.0)})
        pod = running.start()
        wait_ready([pod])
        running.load.send("late", BUSY)
        wait_until(lambda: running.ledger.count("started") == 1)
        end = running.end(pod)
        assert end.drained is True, pod.text
        assert not end.killed
        assert running.ledger.entries("late-0") == ["started", "done"]
        assert running.counts() == (0, 0, 0)


def test_a_worker_that_never_answers_is_given_up_at_the_deadline(redis: RedisServer) -> None:
    began = time.monotonic()
    said = drain(redis.url, timeout=5)
    assert said.returncode == 1
    assert said.stderr.strip() == "No worker celery@nobody has answered within 5 s"
    assert time.monotonic() - began >= 5, "one question that is not answered is not enough"


def test_a_broker_that_is_away_is_not_waited_for() -> None:
    said = drain(f"redis://127.0.0.1:{free_port()}/0", timeout=600)
    assert said.returncode == 0
    assert "celery@nobody cannot be asked, it will give back what it holds" in said.stderr
