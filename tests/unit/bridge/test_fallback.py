"""When Celery's stock worker runs instead of the engine, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.workers import ROOT

#: Worker options by case; "app" and "task" are what is set on these, "step" adds a consumer step.
CASES: dict[str, tuple[dict[str, object], str | None]] = {
    "nothing special": ({}, None),
    "solo": ({"pool": "solo"}, None),
    "several processes": ({"pool": "prefork", "concurrency": 3, "max_tasks_per_child": 5}, None),
    "a thread pool": ({"pool": "threads"}, None),
    "an event loop": ({"pool": "asyncio"}, None),
    "threads that follow the backlog": ({"pool": "threads", "autoscale": "4,2"}, None),
    "a pool of its own": (
        {"pool": "tests.apps.own_pool:OwnPool"},
        "the pool 'own_pool' is not one of prefork, solo, threads, asyncio",
    ),
    "beat": ({"beat": True}, None),
    "autoscale": ({"autoscale": "4,2"}, None),
    "autoscale, as the command line has it": ({"autoscale": [4, 2]}, None),
    "autoscale with one process": (
        {"autoscale": "4,2", "pool": "solo"},
        "--autoscale with the solo pool is set",
    ),
    "an autoscaler of its own": (
        {"app": {"worker_autoscaler": "celery.worker.autoscale.Autoscaler"}},
        "worker_autoscaler is set",
    ),
    "task events": ({"task_events": True}, None),
    "a memory limit": ({"max_memory_per_child": 1000}, None),
    "a state file": ({"statedb": "state.db"}, None),
    "a configured state file": ({"app": {"worker_state_db": "state.db"}}, None),
    "a broker of others": (
        {"app": {"broker_url": "memory://"}},
        "its broker is one that Celeriac has no engine for",
    ),
    "a transport by hand": (
        {"app": {"broker_transport": "memory"}},
        "its broker is one that Celeriac has no engine for",
    ),
    "a consumer of its own": (
        {"app": {"worker_consumer": "celery.worker.consumer.consumer:Consumer"}},
        "worker_consumer is set",
    ),
    "an agent": ({"app": {"worker_agent": "celery.bootsteps:Step"}}, "worker_agent is set"),
    "a rate limit": ({"app": {"task_default_rate_limit": "5/m"}}, None),
    "rate limits switched off": (
        {"app": {"task_default_rate_limit": "5/m", "worker_disable_rate_limits": True}},
        None,
    ),
    "a consumer step": ({"step": True}, "the app adds consumer steps (1)"),
    "a task with Celery's request": ({"task": {"Request": "celery.worker.request.Request"}}, None),
    "a task with a request of its own": (
        {"task": {"Request": "celery.worker.request:create_request_cls"}},
        "the task 'add' has a Request of its own",
    ),
    "a task with a strategy of its own": (
        {"task": {"Strategy": "celery.worker.strategy:hybrid_to_proto2"}},
        "the task 'add' has a Strategy of its own",
    ),
}

SCRIPT = """
import json, sys
from celery import bootsteps
from celeriac import Celery

class Step(bootsteps.ConsumerStep):
    pass

def add():
    pass

def reason(case):
    app = Celery("shop", broker="sqlite:///shop.db")
    app.conf.update(case.pop("app", {}))
    app.task(add, name="add", shared=False, **case.pop("task", {}))
    if case.pop("step", False):
        app.steps["consumer"].add(Step)
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        del app.tasks[name]
    return app.Worker(**{"concurrency": 1, **case}).stock_reason

print(json.dumps([reason(case) for case in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What a worker of each case says; all made in one process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([options for options, _ in CASES.values()]),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path_factory.mktemp("fallback"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.shows("setting", "worker_autoscaler", "worker_consumer", "worker_agent", "broker_transport")
@pytest.mark.parametrize("case", CASES)
def test_the_reason(reasons: dict[str, str | None], case: str) -> None:
    assert reasons[case] == CASES[case][1]
