"""A process of the project: it does what the test on the other side of its pipes asks for."""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import django

from tests.django.bank import app

django.setup()
app.set_current()
app.loader.import_default_modules()
app.finalize()

from celery.app import trace  # noqa: E402 - only after the set-up
from celery.app.trace import build_tracer  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from celeriac.brokers.connect import open_broker  # noqa: E402
from celeriac.django import inbox_table  # noqa: E402
from celeriac.django.models import InboxEntry  # noqa: E402
from celeriac.django.old_rows import purge as purge_rows  # noqa: E402
from tests.django.bank import tasks  # noqa: E402
from tests.django.bank.models import Charge  # noqa: E402


def migrate() -> None:
    """The database has its tables."""
    call_command("migrate", verbosity=0, run_syncdb=True)


def deliver(name: str, *args: Any, **request: Any) -> dict[str, Any]:
    """Have Celery's tracer run a message of the task, as a worker does; return what is known of it then."""
    task = getattr(tasks, name)
    task_id = request.setdefault("id", "1")
    headers = {"args": args, "kwargs": {}, "is_eager": False, "delivery_info": {}, **request}
    _, info, _, _ = build_tracer(task.name, task, app=app)(task_id, args, {}, headers)
    return {
        "state": info.state if info else "SUCCESS",
        "error": f"{type(info.retval).__name__}: {info.retval}" if info else None,
        "stored": app.backend.get_task_meta(task_id)["status"],
        "result": app.backend.get_task_meta(task_id)["result"] if info is None else None,
    }


def waiting() -> list[Any]:
    """Take all messages from the broker; return the task, the id and the number of retries of each."""
    assert app.framework.desk.outbox.finish(20)
    with closing(open_broker(app.conf.broker_url, {})) as broker:
        leases = broker.claim(["celery"], 100, owner="test", lease_for=60).leases
        broker.ack(leases)
        headers = [json.loads(lease.message.payload)["headers"] for lease in leases]
    return [(one["task"].rpartition(".")[2], one["id"], one["retries"]) for one in headers]


def options(name: str) -> list[Any]:
    task = getattr(tasks, name)
    return [task.acks_late, task.reject_on_worker_lost]


def call(name: str, *args: Any) -> Any:
    """Call the task as a function."""
    return getattr(tasks, name)(*args)


def apply(name: str, *args: Any) -> list[Any]:
    """Run the task here and now, as tests of applications do."""
    result = getattr(tasks, name).apply(args)
    return [result.state, result.result if result.successful() else repr(result.result)]


def define(options: dict[str, Any], *, is_async: bool = False) -> bool:
    """Make a task with these options; return whether its class has steps around its body."""

    async def coroutine(order: str) -> None: ...

    def plain(order: str) -> None: ...

    task = app.task(name=str(uuid4()), **options)(coroutine if is_async else plain)
    return "__call__" in vars(type(task))


def purge(seconds: float) -> int:
    return purge_rows(inbox_table.delete_before, "default", seconds)


def add_old(number: int, seconds: float) -> None:
    """The inbox has so many entries of that age."""
    created = timezone.now() - timedelta(seconds=seconds)
    InboxEntry.objects.bulk_create(
        InboxEntry(consumer="old", key=str(key), created=created) for key in range(number)
    )


def charges(order: str) -> int:
    return Charge.objects.filter(order=order).count()


def charges_by_order() -> dict[str, int]:
    return dict(Counter(Charge.objects.values_list("order", flat=True)))


def entries(consumer: str = "") -> list[Any]:
    found = InboxEntry.objects.filter(consumer__endswith=consumer).order_by("id")
    return list(found.values_list("key", "result"))


def serve() -> None:
    """Answer one line after the other, each a function and its arguments."""
    for line in sys.stdin:
        name, args, kwargs = json.loads(line)
        try:
            answer = {"value": globals()[name](*args, **kwargs)}
        except Exception as error:  # it is the other side's to judge
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(f"{json.dumps(answer, default=str)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trace.setup_worker_optimizations(app)
    serve()
