"""A Django project on private servers, in this process and in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from tests.django.servers import postgres_server
from tests.servers import redis_server

__all__ = ["ROOT", "Site", "make_task", "open_site"]

ROOT = Path(__file__).resolve().parents[2]
#: Does nothing here: what is measured ends at the broker.
QUEUE = "elsewhere"


@dataclass(frozen=True)
class Site:
    """One PostgreSQL, whose commits wait for the disk, and one Redis."""

    url: str
    database: Mapping[str, Any]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "BROKER": self.url,
            "DATABASES": json.dumps({"default": self.database}),
            "DJANGO_SETTINGS_MODULE": "tests.django.settings",
            "LEDGER": os.devnull,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "QUEUE": QUEUE,
        }

    @contextmanager
    def running(
        self, *command: str, output: Path | None = None, **environment: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The command for the time of the block."""
        with (output or self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def relay(self) -> Any:
        """Our relay's command for the time of a block."""
        program = str(Path(sys.executable).with_name("celeriac"))
        return self.running(program, "-A", "tests.django.shop.celery", "outbox", "relay")


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """Start the servers, and set Django up in this process."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        site = Site(redis.url, stack.enter_context(postgres_server()), folder)
        os.environ.update(site.environment)
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        yield site


def make_task(kind: Any, url: str, queue: str, **configuration: Any) -> Any:
    """A task of an app of its own, whose messages go to the queue."""
    app = kind(queue, broker=url, set_as_current=False)
    if kind.__module__.startswith("celeriac"):
        app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(task_default_queue=queue, task_ignore_result=True, **configuration)
    task = app.task(name="ship", shared=False)(_ship)
    app.finalize()
    return task


def _ship(number: int, name: str) -> None:
    pass
