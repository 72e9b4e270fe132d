"""``async def`` tasks of the app in tests.apps.ledger; the worker gets ``-I tests.apps.native``."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from typing import Any

from celery import Task, current_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.signals import task_failure, task_postrun, task_prerun, task_retry, task_success

from tests.apps.ledger import app, note

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nobody")


@app.task(acks_late=True)
async def effect(key: str, seconds: float = 0) -> str:
    note(key, "started")
    await asyncio.sleep(seconds)
    note(key, "done")
    return key


@app.task
async def early(key: str, seconds: float = 0) -> str:
    note(key, "started")
    await asyncio.sleep(seconds)
    note(key, "done")
    return key


@app.task
async def add(x: Any, y: Any) -> Any:
    await asyncio.sleep(0)
    return x + y


@app.task
async def total(numbers: list[int]) -> int:
    await asyncio.sleep(0)
    return sum(numbers)


@app.task
async def fail(text: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


@app.task(bind=True, max_retries=5)
async def flaky(self: Any, key: str, failures: int) -> int:
    await asyncio.sleep(0)
    if self.request.retries < failures:
        raise self.retry(countdown=0.05)
    return int(self.request.retries)


@app.task(bind=True, autoretry_for=(OSError,), retry_kwargs={"max_retries": 3, "countdown": 0.05})
async def stubborn(self: Any, failures: int) -> int:
    await asyncio.sleep(0)
    if self.request.retries < failures:
        raise OSError("not yet")
    return int(self.request.retries)


@app.task
async def remember(result: Any, key: str) -> None:
    await asyncio.sleep(0)
    note(key, f"linked {result}")


@app.task
async def remember_error(task_id: str) -> None:
    await asyncio.sleep(0)
    note("link", f"failed {task_id}")


@app.task
def handle_error(_request: Any, error: BaseException, _traceback: Any, key: str) -> None:
    note(key, f"handled {error}")


@app.task(acks_late=True)
async def reject(key: str) -> None:
    await asyncio.sleep(0)
    raise Reject("no good", requeue=False)


@app.task
async def ignore(key: str) -> None:
    await asyncio.sleep(0)
    raise Ignore


@app.task(bind=True)
async def replaced(self: Any, x: int, y: int) -> None:
    await asyncio.sleep(0)
    raise self.replace(add.s(x, y))


@app.task
async def cancels_itself() -> None:
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    await asyncio.sleep(1)


@app.task(soft_time_limit=0.3)
async def slow_soft(key: str) -> str:
    try:
        await asyncio.sleep(20)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        note(key, "interrupted")
        return "interrupted"
    return "ran on"


@app.task(time_limit=0.5, acks_late=True)
async def slow_hard(key: str) -> None:
    note(key, "started")
    await asyncio.sleep(60)


@app.task(time_limit=0.5, acks_late=True)
async def deaf(key: str) -> None:
    """Nothing that is thrown into it ends it."""
    note(key, "started")
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:  # as bad code does
            note(key, "heard")


@app.task(time_limit=0.5, acks_late=True)
def sleeps(key: str) -> None:
    """A call into C, which nothing can interrupt."""
    note(key, "started")
    time.sleep(60)


@app.task(soft_time_limit=0.3, time_limit=20)
def busy_soft(key: str) -> str:
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        return "interrupted"


@app.task(time_limit=0.5)
def busy_hard(key: str) -> None:
    note(key, "started")
    try:
        while True:
            time.sleep(0.01)
    finally:
        note(key, "ended")


@app.task(acks_late=True)
def busy(key: str, seconds: float) -> None:
    note(key, "started")
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            time.sleep(0.01)
        note(key, "done")
    finally:
        note(key, "ended")


@app.task
async def blocks(key: str, seconds: float) -> None:
    """Keeps the loop from everything else."""
    note(key, "started")
    time.sleep(seconds)
    note(key, "done")


class Hooked(Task):
    """Notes its hooks under the key that is its first argument."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note(args[0], "called")
        return await self.run(*args, **kwargs)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], "before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], f"on_success {self.request.id == task_id}")

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        note(args[0], f"after_return {status}")


@app.task(base=Hooked, bind=True, track_started=True)
async def hooked(self: Any, key: str) -> str:
    await asyncio.sleep(0)
    note(key, "body")
    return key


@app.task(bind=True)
async def identity(self: Any, key: str, meet: int) -> list[Any]:
    """Return who it is, before and after as many have begun, also as seen from within a sub-task."""
    first = self.request.id
    seen.set(key)
    company.add(key)
    while len(company) < meet:
        await asyncio.sleep(0.01)

    async def within() -> list[Any]:
        await asyncio.sleep(0)
        return [self.request.id, current_task.request.id, seen.get()]

    found = await asyncio.gather(within(), within())
    return [first, self.request.id, *found[0], *found[1], os.getpid(), threading.get_ident()]


#: Keys of the tasks that have begun in this process.
company: set[str] = set()


@app.task
def meet(key: str, others: int) -> str:
    """End once as many have begun in this process, which takes as many that run at a time."""
    company.add(key)
    give_up = time.monotonic() + 15
    while len(company) < others:
        if time.monotonic() > give_up:
            raise TimeoutError(f"met {len(company)} only")
        time.sleep(0.01)
    return key


@app.task(bind=True)
async def loop_of(self: Any) -> list[Any]:
    return [f"{os.getpid()}/{threading.get_ident()}", id(asyncio.get_running_loop())]


@app.task
async def inherited() -> str:
    """Return what the task before it has left in a context variable."""
    before = seen.get()
    seen.set("somebody")
    return before


def _note_signal(what: str) -> Any:
    def receive(sender: Any = None, **_: Any) -> None:
        if "SIGNALS" in os.environ and sender.name.startswith(__name__):
            note(
                sender.name.rpartition(".")[2], f"{what} {current_task and current_task.name == sender.name}"
            )

    return receive


receivers = {name: _note_signal(name) for name in ("prerun", "postrun", "success", "failure", "retry")}
task_prerun.connect(receivers["prerun"])
task_postrun.connect(receivers["postrun"])
task_success.connect(receivers["success"])
task_failure.connect(receivers["failure"])
task_retry.connect(receivers["retry"])
