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


@task()
def sometimes(answer: str) -> str:
    if answer.startswith("no"):
        raise ConnectionError(answer)
    return answer


@task()
def login(name: str, details: dict[str, Any], *, password: str) -> str:
    return f"{name} {len(details)} {len(password)}"


@task(max_attempts=3, backoff=lambda error, result: None if result.attempts == 2 else 0)
def gives_up() -> None:
    """Its backoff ends it after the second of three attempts."""
    raise ConnectionError("no answer")


@task(atomic=True)
def half_done(name: str) -> None:
    """Change something, and fail."""
    User.objects.create(username=name)
    raise ValueError(name)


def plain() -> None:
    """A function whose task has another name."""


other_name = task()(plain)


@task(max_attempts=2, backoff=0)
def sometimes_twice() -> None:
    raise ConnectionError("no answer")
