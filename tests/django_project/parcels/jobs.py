"""Tasks of Django's framework."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User

from celeriac.django.tasks import task


def _folder() -> Path:
    return Path(os.environ["FOLDER"])


def write(name: str, text: str) -> None:
    with (_folder() / name).open("a") as file:
        file.write(f"{text}\n")


@task()
def weigh(parcel: int) -> int:
    write("weighed", str(parcel))
    return parcel * 2


@task(max_attempts=3, backoff=0)
def flaky(fail: int) -> str:
    """Fail so many times."""
    write("flaky", "run")
    if len((_folder() / "flaky").read_text().splitlines()) <= fail:
        raise ConnectionError("no answer")
    return "done"


@task(takes_context=True)
def kill_worker(context: Any) -> int:
    """The first attempt kills the process that runs it."""
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(context.attempt)


@task()
def always_kill_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(takes_context=True)
def wait_for_go(context: Any) -> int:
    """Return the number of the attempt once somebody says go."""
    write("started", str(context.attempt))
    while not (_folder() / "go").exists():
        time.sleep(0.02)
    return int(context.attempt)


@task(takes_context=True, atomic=True)
def register(context: Any, name: str) -> int:
    """Create a user; the first attempt dies before its transaction is committed."""
    User.objects.create(username=name)
    write("registered", str(context.attempt))
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return User.objects.count()
