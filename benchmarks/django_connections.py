"""Measures what a Django task pays for its database connection, and for its entry in the inbox.

    PYTHONPATH=. python benchmarks/django_connections.py --json benchmarks/results/django-connections.json

Connections: one worker of one process, a private PostgreSQL and Redis on this machine, all variants in turn,
several rounds; measured is the time between the ends of the first and the last task, for each task: the body
and everything around it. The inbox: Celery's tracer runs one task of each kind after the other.
Commits do not wait for the disk, whose pace would hide the rest.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import click
from tests.django.postgres import postgres_server

from rig.private_redis import start_redis

PROJECT = """
import json, os, time

from django.conf import settings

settings.configure(
    SECRET_KEY="only for measurements",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["celeriac.django"],
    DATABASES={"default": json.loads(os.environ["DATABASE"])},
    CELERY_BROKER_URL=os.environ["BENCH_BROKER"],
    CELERY_TASK_IGNORE_RESULT=True,
    CELERY_TASK_ACKS_LATE=True,
    CELERY_WORKER_HIJACK_ROOT_LOGGER=False,
    **({"CELERY_DB_REUSE_MAX": 0} if "CLOSE" in os.environ else {}),
)
os.environ["DJANGO_SETTINGS_MODULE"] = "settings-are-configured-above"

from celeriac import Celery

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")

import django

django.setup()

from celery.app.trace import build_tracer
from django.db import connection, transaction

EFFECT = "INSERT INTO effects (number) VALUES (%s)"
ends = os.open(os.environ["BENCH_ENDS"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def end():
    os.write(ends, f"{time.monotonic()}\\n".encode())


def execute(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@app.task
def nothing(number):
    end()


@app.task
def query(number):
    execute("SELECT 1")
    end()


@app.task
def effect(number):
    with transaction.atomic():
        execute(EFFECT, number)


@app.task(idempotent=True)
def once(number):
    execute(EFFECT, number)


@app.task(idempotent=True)
def once_with_result(number):
    execute(EFFECT, number)
    return number


def measure_inbox(calls):
    # Prints the milliseconds of each call, by what was called.
    kinds = {
        "one effect in a transaction": (effect, "effect"),
        "one effect, idempotent": (once, "once"),
        "one effect, idempotent, with a result": (once_with_result, "result"),
        "a duplicate": (once_with_result, "result"),
    }
    tracers = {task: build_tracer(task.name, task, app=app) for task, _ in kinds.values()}
    times = {kind: [] for kind in kinds}
    for number in range(calls):
        for kind, (task, name) in kinds.items():
            task_id = f"{name} {number}"
            request = {"id": task_id, "args": (number,), "kwargs": {}, "delivery_info": {}, "is_eager": False}
            began = time.perf_counter()
            tracers[task](task_id, (number,), {}, request)
            times[kind].append((time.perf_counter() - began) * 1000)
    print(json.dumps({kind: found[calls // 10 :] for kind, found in times.items()}))


def prepare():
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    execute("CREATE TABLE IF NOT EXISTS effects (id bigserial PRIMARY KEY, number bigint)")


def publish(name, number):
    for index in range(number):
        app.tasks[f"project.{name}"].delay(index)
"""
#: Each with the task and what is set for its worker.
VARIANTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "no query": ("nothing", {}),
    "one query, Celery's fix-up": ("query", {"CLOSE": "1"}),
    "one query, connection kept": ("query", {}),
}
_GIVE_UP_SECONDS = 120


class Bench:
    """A folder with the project, and the environment in which its processes run."""

    def __init__(self, folder: Path, broker: str, database: Mapping[str, Any]) -> None:
        self.folder = folder
        self.ends = folder / "ends"
        (folder / "project.py").write_text(PROJECT)
        self.environment = {
            **os.environ,
            "BENCH_BROKER": broker,
            "BENCH_ENDS": str(self.ends),
            "DATABASE": json.dumps(database),
            "PYTHONPATH": str(folder),
        }

    def call(self, code: str) -> str:
        """Run the code in the project; return what it prints."""
        command = [sys.executable, "-c", f"import project; project.{code}"]
        return subprocess.run(
            command, check=True, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        ).stdout

    def measure(self, variant: str, tasks: int) -> float:
        """Return the milliseconds that a task of the variant takes."""
        task, environment = VARIANTS[variant]
        self.call(f"publish({task!r}, {tasks})")
        self.ends.unlink(missing_ok=True)
        with self._worker(environment):
            give_up = time.monotonic() + _GIVE_UP_SECONDS
            while len(ends := self._read_ends()) < tasks:
                if time.monotonic() > give_up:
                    raise click.ClickException(f"{variant}: {len(ends)} of {tasks} tasks have ended")
                time.sleep(0.1)
        # The first tenth warms up: it opens the connection and lets batches find their size.
        warm = tasks // 10
        return (ends[-1] - ends[warm]) / (tasks - 1 - warm) * 1000

    def _read_ends(self) -> list[float]:
        return [float(line) for line in self.ends.read_text().splitlines()] if self.ends.exists() else []

    @contextmanager
    def _worker(self, environment: Mapping[str, str]) -> Iterator[None]:
        command = [sys.executable, "-m", "celery", "-A", "project", "worker", "-c", "1", "-l", "error"]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()


@click.command()
@click.option("--tasks", default=1000, show_default=True, help="Tasks of each variant in each round.")
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Where the raw numbers go."
)
def main(tasks: int, rounds: int, path: Path | None) -> None:
    """Measure all variants in turn; print the median of each."""
    measured: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with (
        tempfile.TemporaryDirectory() as folder,
        start_redis() as redis,
        postgres_server("synchronous_commit=off") as postgres,
    ):
        bench = Bench(Path(folder), redis.broker_url, postgres.database())
        bench.call("prepare()")
        for _ in range(rounds):
            for variant in VARIANTS:
                measured[variant].append(bench.measure(variant, tasks))
        measured |= json.loads(bench.call(f"measure_inbox({tasks * rounds})"))
    for variant, times in measured.items():
        click.echo(f"{variant:40} {median(times):7.3f} ms a task   (best {min(times):.3f})")
    if path is not None:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "cpus": os.cpu_count()}
        told = {**machine, "load": os.getloadavg(), "tasks": tasks, "rounds": rounds}
        path.write_text(json.dumps({**told, "milliseconds a task": measured}) + "\n")


if __name__ == "__main__":
    main()
