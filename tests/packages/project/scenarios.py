"""What users of the Django packages do in their own processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django
from celery import chord, group
from django.core.management import call_command

from tests.packages.apps import folder
from tests.packages.project import app

django.setup()

from django.test import Client  # noqa: E402 - only after the set-up
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask  # noqa: E402
from django_celery_results.models import ChordCounter, GroupResult, TaskResult  # noqa: E402

from tests.packages.project.tasks import add, again, fail, tick, total, walk  # noqa: E402

_FIELDS = (
    *("content_encoding", "content_type", "meta", "result", "status", "task_args", "task_kwargs"),
    *("task_name", "worker", "periodic_task_name"),
)


def migrate() -> None:
    """The database has its tables."""
    call_command("migrate", verbosity=0)


def results() -> dict[str, Any]:
    """Run tasks; return what the database says about them afterwards."""
    calls = {
        "add": add.delay(1, y=2),
        "fail": fail.delay("boom"),
        "again": again.apply_async(),
        "ignored": add.apply_async((5, 6), ignore_result=True),
        "chord": chord([add.s(n, n) for n in range(5)], total.s())(),
        "bad chord": chord([add.s(1, 1), fail.s("part")], total.s())(),
        "chain": (add.s(1, 2) | add.s(3)).apply_async(),
    }
    waiting = group(add.s(n, 1) for n in range(3)).apply_async()
    waiting.save()
    for name, result in calls.items():
        if name != "ignored":
            result.get(timeout=20, propagate=False)
    restored = app.GroupResult.restore(waiting.id)
    assert waiting.get(timeout=20) == restored.get(timeout=20) == [1, 2, 3]
    told = {name: _row(result.id) for name, result in calls.items()}
    return {
        **told,
        "traceback": TaskResult.objects.get(task_id=calls["fail"].id).traceback,
        "dated": all(_dates(calls[name].id) for name in ("add", "fail", "again", "chord")),
        "children of the chain": len(calls["chain"].parent.children),
        "groups": GroupResult.objects.filter(group_id=waiting.id).count(),
        "open chords": ChordCounter.objects.count(),
    }


def _row(task_id: str) -> dict[str, Any] | None:
    return TaskResult.objects.filter(task_id=task_id).values(*_FIELDS).first()


def _dates(task_id: str) -> bool:
    row = TaskResult.objects.get(task_id=task_id)
    rounding = timedelta(milliseconds=1)  # when it started is SQLite's own time, which is cut off there
    return row.date_created - rounding <= row.date_started <= row.date_done


def plan() -> None:
    """Tasks are due from now on: one in half a second again and again, one only once, one never."""
    often, _ = IntervalSchedule.objects.get_or_create(every=500_000, period=IntervalSchedule.MICROSECONDS)
    PeriodicTask.objects.create(name="often", task=tick.name, interval=often, args='["often"]')
    PeriodicTask.objects.create(name="once", task=tick.name, interval=often, args='["once"]', one_off=True)
    PeriodicTask.objects.create(name="off", task=tick.name, interval=often, args='["off"]', enabled=False)
    midnight, _ = CrontabSchedule.objects.get_or_create(minute="0", hour="0")
    PeriodicTask.objects.create(name="midnight", task=tick.name, crontab=midnight, args='["midnight"]')


def change_plan() -> None:
    """What was off is on."""
    PeriodicTask.objects.get(name="off").delete()
    often = IntervalSchedule.objects.get()
    PeriodicTask.objects.create(name="new", task=tick.name, interval=often, args='["new"]')


def planned() -> dict[str, Any]:
    """What the database says of the plan, and of the tasks' results."""
    rows = TaskResult.objects.filter(task_name=tick.name)
    return {
        "runs": {task.name: task.total_run_count for task in PeriodicTask.objects.all()},
        "enabled": sorted(PeriodicTask.objects.filter(enabled=True).values_list("name", flat=True)),
        "results": sorted({(row.periodic_task_name, row.result) for row in rows}, key=str),
    }


def progress() -> list[Any]:
    """Watch tasks through the package's views; return what these say at half of the way and at the end."""
    client = Client()
    result = walk.delay("go")
    both = group(add.s(1, 1), fail.s("boom")).apply_async()
    both.save()
    halfway = _when(client, f"/{result.id}/", lambda told: told["state"] == "PROGRESS")
    (folder() / "go").touch()
    arrived = _when(client, f"/{result.id}/", lambda told: told["complete"])
    group_told = _when(client, f"/g/{both.id}/", lambda told: told["complete"])
    return [halfway, arrived, group_told]


def _when(client: Client, path: str, condition: Callable[[dict[str, Any]], bool]) -> Any:
    give_up = time.monotonic() + 20
    while True:
        told = client.get(path).json()
        if condition(told):
            return told
        assert time.monotonic() < give_up, told
        time.sleep(0.02)
