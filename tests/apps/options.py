"""One task for each option of Celery's tasks; the environment variable ENGINE says whose worker runs them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

import celery
from celery import chain, signature
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from pydantic import BaseModel

import celeriac

app = (celeriac.Celery if os.environ["ENGINE"] == "celeriac" else celery.Celery)(
    "options", broker=os.environ["BROKER"], backend=os.environ["RESULTS"]
)
app.conf.update(
    accept_content=["json", "msgpack", "yaml", "pickle"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
    result_backend_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
    result_extended=True,
    task_routes={"tests.apps.options.routed": {"queue": "other"}},
)
app.conf.update(json.loads(os.environ.get("CONF", "{}")))


#: Not shared with other apps of the process: the tests load this module once for each engine.
task = partial(app.task, shared=False)


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


def wait_for(until: str) -> None:
    """Return once the file exists."""
    while not Path(until).exists():
        time.sleep(0.01)


class Hooked(celery.Task):
    """Writes down each of its handlers."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], "before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], f"on_success {retval}")

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(args[0], f"on_failure {type(exc).__name__} {type(einfo).__name__}")

    def on_retry(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(args[0], f"on_retry {type(exc).__name__}")

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        note(args[0], f"after_return {status}")


class Order(BaseModel):
    number: int
    lines: list[str]


# -- What a task is told


@task(bind=True)
def context(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Everything the task knows of its own delivery, as far as JSON can carry it."""
    request = dict(vars(self.request))
    request.pop("_children", None)
    request["children"] = [str(child) for child in self.request.children or []]
    return json.loads(json.dumps(request, default=str))


@task()
def add(x: Any, y: Any) -> Any:
    return x + y


@task(typing=False)
def untyped(x: int) -> int:
    return x


@task()
def kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


@task(serializer="yaml", compression="bzip2")
def packed(value: Any) -> Any:
    return value


@task(priority=7, bind=True)
def urgent(self: Any) -> Any:
    return self.request.delivery_info["priority"]


@task(bind=True)
def routed(self: Any) -> Any:
    return self.request.delivery_info["routing_key"]


@task(pydantic=True)
def reprice(order: Order, factor: int = 1) -> Order:
    return Order(number=order.number * factor, lines=[*order.lines, type(order).__name__])


@task(pydantic=True, pydantic_strict=True)
def reprice_strictly(order: Order) -> int:
    return order.number


# -- Results


@task(ignore_result=True)
def quiet(key: str) -> str:
    note(key, "ran")
    return key


@task(ignore_result=True, store_errors_even_if_ignored=True)
def quiet_but_for_errors(key: str) -> None:
    raise ValueError(key)


@task(track_started=True)
def tracked(until: str) -> int:
    wait_for(until)
    return os.getpid()


@task(send_events=False)
def untold() -> int:
    return 1


@task(bind=True)
def parent(self: Any) -> list[str]:
    return [add.delay(1, 2).id, add.delay(3, 4).id]


@task(bind=True, trail=False)
def childless(self: Any) -> str:
    return str(add.delay(1, 2).id)


@task(bind=True)
def progress(self: Any, until: str) -> None:
    self.update_state(state="HALFWAY", meta={"done": 5})
    wait_for(until)


# -- Retries


@task(
    bind=True,
    autoretry_for=(ArithmeticError,),
    dont_autoretry_for=(OverflowError,),
    retry_kwargs={"max_retries": 2, "countdown": 0},
)
def autoretried(self: Any, key: str, failures: int, error: str = "ZeroDivisionError") -> int:
    note(key, "started")
    if self.request.retries < failures:
        raise {"ZeroDivisionError": ZeroDivisionError, "OverflowError": OverflowError}[error]("again")
    return int(self.request.retries)


@task(bind=True, autoretry_for=(KeyError,), retry_backoff=1, retry_backoff_max=1, retry_jitter=False)
def backs_off(self: Any, key: str) -> int:
    note(key, "started")
    if self.request.retries < 1:
        raise KeyError(key)
    return int(self.request.retries)


@task(bind=True, max_retries=1, default_retry_delay=0)
def moved(self: Any, key: str, **options: Any) -> dict[str, Any]:
    """Is retried once with the options; tells what came of it."""
    if self.request.retries == 0:
        raise self.retry(**options)
    told = self.request
    return {
        "args": told.args,
        "queue": told.delivery_info["routing_key"],
        "id": told.id,
        "headers": told.headers,
    }


@task(bind=True, max_retries=1)
def gives_up(self: Any, exc: bool) -> None:
    raise self.retry(countdown=0, exc=LookupError("out of luck") if exc else None)


# -- Failures and acknowledgements


@task(bind=True, base=Hooked, max_retries=1)
def hooked(self: Any, key: str, end: str) -> Any:
    note(key, "run")
    if end == "fail":
        raise ValueError(key)
    if end == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0, exc=KeyError(key))
    return type(self).made


@task(base=Hooked, time_limit=1, acks_late=True)
def hooked_and_slow(key: str) -> None:
    time.sleep(60)


@task(throws=(LookupError,))
def expected() -> None:
    raise LookupError("as usual")


@task()
def fail(text: str = "no good") -> None:
    raise ValueError(text)


@task(bind=True, acks_late=True)
def reject(self: Any, key: str, requeue: bool) -> str:
    note(key, "started")
    if not requeue or not self.request.delivery_info["redelivered"]:
        raise Reject("not now", requeue=requeue)
    return "in the end"


@task(bind=True)
def ignore(self: Any, key: str) -> None:
    note(key, "started")
    self.update_state(state="MINE")
    raise Ignore


@task(acks_late=True, acks_on_failure=False)
def unacked_failure(key: str) -> None:
    note(key, "started")
    raise ValueError(key)


@task(bind=True, acks_late=True, reject_on_worker_lost=True)
def dies_once(self: Any, key: str) -> bool:
    note(key, "started")
    if not self.request.delivery_info["redelivered"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return True


@task(bind=True, base=Hooked, retry_on_worker_lost=True, default_retry_delay=0, max_retries=1)
def dies_and_is_retried(self: Any, key: str, times: int, acks_late: bool = False) -> int:
    note(key, "started")
    if self.request.retries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(self.request.retries)


@task(bind=True, acks_late=True, retry_on_worker_lost=True, default_retry_delay=0, max_retries=1, base=Hooked)
def dies_late_and_is_retried(self: Any, key: str, times: int) -> int:
    note(key, "started")
    if self.request.retries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(self.request.retries)


@task()
def dies(key: str) -> None:
    note(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


# -- Limits


@task(soft_time_limit=1)
def soft(key: str) -> str:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "in time"
    return "too late"


@task(time_limit=1)
def hard(key: str) -> None:
    time.sleep(60)


@task()
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task(rate_limit="5/s")
def limited(number: int) -> None:
    note(str(number), "limited")


@task(expires=0.001)
def perishable() -> None:
    note("perishable", "started")


# -- Canvas


@task()
def remember(value: Any, key: str) -> None:
    note(key, f"linked {value}")


@task()
def errback(request: Any, error: Exception, traceback: Any, key: str) -> None:
    note(key, f"errback {type(error).__name__} {request.id}")


@task()
def old_errback(task_id: str, key: str) -> None:
    note(key, f"old errback {task_id}")


@task(bind=True)
def replaced(self: Any, x: int) -> Any:
    raise self.replace(chain(add.s(x, 1), add.s(10)))


@task(bind=True)
def joins_its_chord(self: Any, x: int) -> int:
    self.add_to_chord(signature("tests.apps.options.add", (100, x), app=self.app))
    return x


@task()
def total(numbers: list[int]) -> int:
    return sum(numbers)
