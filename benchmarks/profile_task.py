"""Measures what one task that does nothing costs a worker, step by step.

    python benchmarks/profile_task.py --json benchmarks/results/profile.json --page docs/performance.md

Each step is done to a whole batch in a loop of its own, in one process, as a shard does it to one task
after the other; so no profiler is in the figures. Steps inside of others are measured by themselves and
taken off. "Whole" is a real shard that drains the same queue.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from celery.app.trace import setup_worker_optimizations

from celeriac import Celery
from celeriac.bridge.configuration import broker_for, read_settings
from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.kept_loop import tracer
from celeriac.bridge.limits import NO_LIMITS
from celeriac.bridge.orders import Orders
from celeriac.bridge.process import Shared, make_shard
from celeriac.bridge.task_events import TaskEvents
from celeriac.bridge.totals import Totals
from celeriac.bridge.wire import decode
from celeriac.core.executor import DONE
from celeriac.core.lease import Lease
from celeriac.engine.run import Finished
from celeriac.engine.supervisor import new_spec
from rig.private_redis import PrivateRedis, start_redis

_HOST = "profile@here"
_JSON = frozenset({"application/json"})
_QUEUES = ("celery",)
_LEASE_SECONDS = 60.0
#: As many as a shard claims at once of tasks as short as these.
_BATCH = 600

_BEGIN, _END = "<!-- profile: begin -->", "<!-- profile: end -->"

Costs = dict[str, float]


class Workshop:
    """One app, and what a shard's process has of it."""

    def __init__(self, redis: PrivateRedis, *, results: bool) -> None:
        self.redis = redis
        backend = redis.results_url if results else None
        self.app = Celery("profile", broker=redis.broker_url, backend=backend, set_as_current=False)
        self.app.conf.task_ignore_result = not results
        self.task = self.app.task(_do_nothing, name="noop", shared=False)
        self.app.finalize()
        setup_worker_optimizations(self.app, _HOST)
        self.task.__trace__ = tracer(self.app, self.task, _HOST)
        self.settings = read_settings(self.app)
        self.totals = Totals(self.app.tasks)
        self.orders = Orders(self.app, TaskEvents(self.app, _HOST, wanted=False, pid=os.getpid()), None)
        self.connect = partial(broker_for, self.app, redis.broker_url)
        self.broker = self.connect()
        self.spec = new_spec("Shard-1", _HOST, _QUEUES, self.settings)
        self.executor = CeleryExecutor(self.app, _HOST, self.orders, self.totals.counter(0).add)
        self._unacked: list[Lease] = []

    def steps(self) -> Costs:
        """Return the seconds that each step took for one batch."""
        self.task.delay_many([()] * _BATCH)
        costs: Costs = {}
        redis_before = self.redis.cpu_seconds
        costs["claim"], leases = timed(self._claim)
        costs["Redis: claim and ack"] = self.redis.cpu_seconds - redis_before
        costs["wire"], _ = timed(lambda: [decode(lease.message.payload, _JSON) for lease in leases])
        costs["decode"], jobs = timed(lambda: [self.executor.decode(lease) for lease in leases])
        costs["journal"], _ = timed(lambda: self._journal(leases))
        costs["body"], _ = timed(lambda: [self.task.run(*job.args, **job.kwargs) for job in jobs])
        costs["run"], _ = timed(lambda: [self.executor.run(job) for job in jobs])
        redis_before = self.redis.cpu_seconds
        costs["results"], _ = timed(self.executor.flush)
        costs["Redis: results"] = self.redis.cpu_seconds - redis_before
        return costs

    def whole(self) -> Costs:
        """Return the seconds that a shard takes to drain some batches, for one of them."""
        shared = Shared(self.orders, self.totals, NO_LIMITS, "prefork", self.connect)
        broker = self.connect()
        shard = make_shard(self.app, _HOST, broker, self.settings, self._new_spec(), shared)
        shard.open()
        self.task.delay_many([()] * _BATCH)
        self._drain(shard)  # it learns how many to claim at once
        self.task.delay_many([()] * 10 * _BATCH)
        spent, _ = timed(lambda: self._drain(shard))
        shard.close()
        broker.close()
        return {"whole": spent / 10}

    def _new_spec(self) -> Any:
        return new_spec("Shard-2", _HOST, _QUEUES, self.settings)

    def _drain(self, shard: Any) -> None:
        while self.redis.messages.llen("celery"):
            for _ in range(5):
                shard.work(0.0)

    def _claim(self) -> list[Lease]:
        claimed = self.broker.claim(
            _QUEUES, _BATCH, owner=self.spec.owner, lease_for=_LEASE_SECONDS, ack=self._unacked
        )
        self._unacked = list(claimed.leases)
        return self._unacked

    def _journal(self, leases: list[Lease]) -> None:
        journal = self.spec.journal
        for lease in leases:
            slot = journal.begin(lease.id, at_most_once=True)
            finished = Finished(lease, DONE, slot)
            journal.finish(slot)
            journal.settle(finished.slot or 0)


def _do_nothing() -> None:
    return None


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of this thread that the work took, and what it gave."""
    begun = time.thread_time()
    result = work()
    return time.thread_time() - begun, result


def measure(*, results: bool, rounds: int) -> Costs:
    """Return the microseconds of each step for one task: the smallest of some rounds."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    with start_redis() as redis:
        workshop = Workshop(redis, results=results)
        gc.freeze()  # as a shard does
        for number in range(rounds):
            for name, seconds in {**workshop.steps(), **workshop.whole()}.items():
                if number:  # the first round warms up
                    found[name].append(seconds)
    return told({name: 1e6 * min(each) / _BATCH for name, each in found.items()})


def told(best: Mapping[str, float]) -> Costs:
    """Return the same as steps that follow each other, and what the sum leaves of the whole."""
    steps = {
        "claim the batch, ack the one before": best["claim"],
        "decode the envelope and the body": best["wire"],
        "make Celery's request of it": best["decode"] - best["wire"],
        "journal: begin, finish, forget": best["journal"],
        "admit, count, and Celery's tracer": best["run"] - best["body"],
        "the body": best["body"],
        "store the results of the batch": best["results"],
    }
    rest = best["whole"] - sum(steps.values())
    both = {name: best[name] for name in ("Redis: claim and ack", "Redis: results")}
    return {**steps, "the shard's loop, and the rest": rest, "whole, by a shard": best["whole"], **both}


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=30, type=click.IntRange(min=3))
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the figures go.")
@click.option("--page", type=click.Path(path_type=Path), help="The page whose table is replaced.")
def main(rounds: int, file: Path | None, page: Path | None) -> None:
    """Print the microseconds of CPU that one task costs, step by step."""
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "rounds": rounds,
        "batch": _BATCH,
    }
    columns = {
        "results off": measure(results=False, rounds=rounds),
        "results stored": measure(results=True, rounds=rounds),
    }
    table = _table(columns)
    print(table)
    if file is not None:
        file.write_text(json.dumps({"setting": setting, "microseconds": columns}, indent=1) + "\n")
    if page is not None:
        made_in = "{date:.10}, commit {commit}, Python {python}, smallest of {rounds} rounds.".format(
            **setting
        )
        head, _, rest = page.read_text().partition(_BEGIN)
        page.write_text(f"{head}{_BEGIN}\n\n{made_in}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}")


def _table(columns: Mapping[str, Costs]) -> str:
    lines = [["µs of CPU for one task", *columns], ["---", *["--:"] * len(columns)]]
    steps = next(iter(columns.values()))
    lines += [[step, *(f"{each[step]:.2f}" for each in columns.values())] for step in steps]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
